// Writes the tables of docs/configuration.md anew: node --conditions=@edgemesh/source packages/config/scripts/render-docs.ts
import { readFileSync, writeFileSync } from 'node:fs';
import { renderDocs } from '../src/docs.ts';

const file = new URL('../../../docs/configuration.md', import.meta.url);
writeFileSync(file, renderDocs(readFileSync(file, 'utf8')));
