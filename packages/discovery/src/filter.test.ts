import { expect, it } from 'vitest';
import { EDGEMESH_PROXY_LABEL, isProxiedService, KUBERNETES_PROXY_LABEL } from './filter.ts';

const service = (...labels: string[]) => ({ labels: Object.fromEntries(labels.map((label) => [label, ''])) });

it('proxies all but labelled Services when the label excludes', () => {
  expect(isProxiedService(service(), 'FilterIfLabelExists')).toBe(true);
  expect(isProxiedService(service(EDGEMESH_PROXY_LABEL), 'FilterIfLabelExists')).toBe(false);
});

it('proxies only labelled Services when the lack of the label excludes', () => {
  expect(isProxiedService(service(), 'FilterIfLabelDoesNotExists')).toBe(false);
  expect(isProxiedService(service(EDGEMESH_PROXY_LABEL), 'FilterIfLabelDoesNotExists')).toBe(true);
});

it('leaves Services of another proxy alone in both modes', () => {
  expect(isProxiedService(service(KUBERNETES_PROXY_LABEL), 'FilterIfLabelExists')).toBe(false);
  const both = service(KUBERNETES_PROXY_LABEL, EDGEMESH_PROXY_LABEL);
  expect(isProxiedService(both, 'FilterIfLabelDoesNotExists')).toBe(false);
});
