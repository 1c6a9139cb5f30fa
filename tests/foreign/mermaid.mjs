// A sequence diagram on stdin, as Mermaid's own parser reads it, as JSON on stdout.
import { readFileSync } from 'node:fs';
import { runInThisContext } from 'node:vm';

globalThis.window = globalThis; // it is made for pages; to parse it needs no more of one
const made = new URL('node_modules/@mermaid-js/tiny/dist/mermaid.tiny.js', import.meta.url);
runInThisContext(readFileSync(made, 'utf8'));
const text = readFileSync(0, 'utf8');
await mermaid.parse(text);
const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
const actors = Object.fromEntries([...db.getActors()].map(([id, actor]) => [id, actor.description]));
console.log(JSON.stringify({ actors, messages: db.getMessages() }));
