// What a party in a tab keeps: its items, and its identity, wrapped by a key that cannot leave
// the browser.

const ITEMS = "items";
const OWN = "identity";

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class Database {
  constructor(db) { this.db = db; }

  static open(name) {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(ITEMS);
      request.result.createObjectStore(OWN);
    };
    return done(request).then((db) => new Database(db));
  }

  // All items, [name, bytes].
  async read() {
    const store = this.db.transaction(ITEMS).objectStore(ITEMS);
    const [names, values] = await Promise.all([done(store.getAllKeys()), done(store.getAll())]);
    return names.map((name, i) => [name, values[i]]);
  }

  // Resolves once every verb of the batch is on the disk.
  write(batch) {
    return new Promise((resolve, reject) => {
      const transaction = this.db.transaction(ITEMS, "readwrite", { durability: "strict" });
      const store = transaction.objectStore(ITEMS);
      for (const [verb, , name, value] of batch) {
        if (verb === "keep") store.put(value, name);
        else store.delete(name);
      }
      transaction.oncomplete = () => resolve();
      transaction.onerror = () => reject(transaction.error);
      transaction.onabort = () => reject(transaction.error ?? new Error("it was interrupted"));
    });
  }

  own(name) { return done(this.db.transaction(OWN).objectStore(OWN).get(name)); }

  keepOwn(pairs) {
    return new Promise((resolve, reject) => {
      const transaction = this.db.transaction(OWN, "readwrite", { durability: "strict" });
      for (const [name, value] of pairs) transaction.objectStore(OWN).put(value, name);
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

// The seed of this party's identity: the one that was kept, or a new one. Where the browser has
// no WebCrypto (a page over plain http from another machine) it ends with the page: kept is false.
export async function identity(database) {
  const subtle = globalThis.crypto.subtle;
  if (database === null || subtle === undefined) {
    return { seed: globalThis.crypto.getRandomValues(new Uint8Array(32)), kept: false };
  }
  const [key, sealed] = await Promise.all([database.own("key"), database.own("sealed")]);
  if (key !== undefined && sealed !== undefined) {
    const plain = await subtle.decrypt({ name: "AES-GCM", iv: sealed.iv }, key, sealed.data);
    return { seed: new Uint8Array(plain), kept: true };
  }
  const seed = globalThis.crypto.getRandomValues(new Uint8Array(32));
  const wrapping = await subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const iv = globalThis.crypto.getRandomValues(new Uint8Array(12));
  const data = await subtle.encrypt({ name: "AES-GCM", iv }, wrapping, seed);
  await database.keepOwn([["key", wrapping], ["sealed", { iv, data }]]);
  return { seed, kept: true };
}
