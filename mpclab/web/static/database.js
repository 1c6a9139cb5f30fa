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

const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (two) => parseInt(two, 16));

// Write what an exported party had, in place of all that is here.
export function restored(database, items) {
  return new Promise((resolve, reject) => {
    const transaction = database.db.transaction(ITEMS, "readwrite", { durability: "strict" });
    const store = transaction.objectStore(ITEMS);
    store.clear();
    for (const [name, value] of Object.entries(items)) store.put(bytes(value), name);
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

const gcm = (iv) => ({ name: "AES-GCM", iv });
const random = (count) => globalThis.crypto.getRandomValues(new Uint8Array(count));

// A seed under two keys: one that cannot leave the browser, and one that a passphrase gives, if
// there is one. `derive(passphrase, salt)` makes that one.
async function keep(database, seed, passphrase, derive) {
  const { subtle } = globalThis.crypto;
  let [plain, salt, inner] = [seed, null, null];
  if (passphrase) {
    [salt, inner] = [random(16), random(12)];
    const own = await subtle.importKey("raw", derive(passphrase, salt), "AES-GCM", false, ["encrypt"]);
    plain = new Uint8Array(await subtle.encrypt(gcm(inner), own, seed));
  }
  const wrapping = await subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const iv = random(12);
  const data = await subtle.encrypt(gcm(iv), wrapping, plain);
  await database.keepOwn([["key", wrapping], ["sealed", { iv, data, salt, inner }]]);
}

// The seed of this party's identity: the one that was kept, or `given`, or a new one. Where the
// browser has no WebCrypto (a page over plain http from another machine) it ends with the page: kept
// is false.
export async function identity(database, passphrase, derive, given = null) {
  const { subtle } = globalThis.crypto;
  if (database === null || subtle === undefined) return { seed: given ?? random(32), kept: false };
  const [key, sealed] = await Promise.all([database.own("key"), database.own("sealed")]);
  if (given === null && key !== undefined && sealed !== undefined) {
    let plain = new Uint8Array(await subtle.decrypt(gcm(sealed.iv), key, sealed.data));
    if (sealed.salt) {
      if (!passphrase) throw new Error("this party is under a passphrase");
      const own = await subtle.importKey("raw", derive(passphrase, sealed.salt), "AES-GCM", false, ["decrypt"]);
      plain = await subtle.decrypt(gcm(sealed.inner), own, plain).then((opened) => new Uint8Array(opened),
        () => { throw new Error("this is another passphrase than that of this party"); });
    } else if (passphrase) await keep(database, plain, passphrase, derive);
    return { seed: plain, kept: true };
  }
  const seed = given ?? random(32);
  await keep(database, seed, passphrase, derive);
  return { seed, kept: true };
}
