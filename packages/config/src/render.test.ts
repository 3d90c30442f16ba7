import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { renderDocs } from './docs.ts';
import { parseAgentConfig, parseServerConfig } from './parse.ts';
import { renderDefaultConfig, renderMinConfig } from './render.ts';
import { agentSchema, serverSchema } from './schema/kinds.ts';
import { schemaRows } from './walk.ts';

describe('the default file', () => {
  it.each(['EdgeMeshAgent', 'EdgeMeshGateway'] as const)('of %s gives what an empty file gives', (kind) => {
    const { config, warnings } = parseAgentConfig(renderDefaultConfig(kind));
    expect(config).toEqual(parseAgentConfig('', { kind }).config);
    expect(warnings.map(({ message }) => message)).toEqual(['no module is enabled, the agent will do nothing']);
  });

  it('of EdgeMeshServer gives what an empty file gives', () => {
    expect(parseServerConfig(renderDefaultConfig('EdgeMeshServer'))).toEqual(parseServerConfig(''));
  });

  it('has every key of an agent but the gateway, and the gateway file has the gateway', () => {
    const text = renderDefaultConfig('EdgeMeshAgent');
    for (const { path } of schemaRows(agentSchema)) {
      if (!path.includes('[]') && !path.includes('edgeGateway')) expect(text).toContain(`${path.split('.').at(-1)}: `);
    }
    expect(text).not.toContain('edgeGateway');
    expect(renderDefaultConfig('EdgeMeshGateway')).toContain('nic: "*"');
  });
});

describe('the smallest file', () => {
  it('switches the modules of the kind on and is read without a warning', () => {
    const { config, warnings } = parseAgentConfig(renderMinConfig('EdgeMeshAgent'));
    expect(warnings).toEqual([]);
    const on = Object.entries(config.modules)
      .filter(([, { enable }]) => enable)
      .map(([name]) => name);
    expect(on).toEqual(['edgeDNS', 'edgeProxy', 'edgeTunnel']);
    expect(renderMinConfig('EdgeMeshAgent').match(/^modules:$/gm)).toHaveLength(1);
    expect(parseAgentConfig(renderMinConfig('EdgeMeshGateway')).config).toMatchObject({
      kind: 'EdgeMeshGateway',
      modules: { edgeGateway: { enable: true }, edgeTunnel: { enable: true }, edgeProxy: { enable: false } },
    });
    expect(parseServerConfig(renderMinConfig('EdgeMeshServer'))).toEqual(parseServerConfig(''));
  });
});

describe('the documentation', () => {
  it('in docs/configuration.md is up to date (else run packages/config/scripts/render-docs.ts)', () => {
    const text = readFileSync(new URL('../../../docs/configuration.md', import.meta.url), 'utf8');
    expect(text).toBe(renderDocs(text));
  });

  it('describes every key in a sentence', () => {
    for (const { path, field } of [...schemaRows(agentSchema), ...schemaRows(serverSchema)]) {
      expect(field.description, path).toMatch(/^\S.{8,}[.\]}]$/);
    }
  });
});
