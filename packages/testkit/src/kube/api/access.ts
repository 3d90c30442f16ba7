import type { RequestInfo } from './request.ts';
import { forbidden, unauthorized } from './status.ts';

/** Names requests; a field left out or `*` matches anything. */
export interface AccessRule {
  readonly user?: string;
  /** API verbs: get, list, watch, create, update, patch, delete, deletecollection. */
  readonly verbs?: readonly string[];
  readonly groups?: readonly string[];
  /** As in RBAC: `gateways` is not `gateways/status`. */
  readonly resources?: readonly string[];
  readonly namespaces?: readonly string[];
}

/** Who may do what. Everybody may do everything until told otherwise. */
export interface Access {
  /** Maps bearer tokens to users and refuses everything else with 401; undefined lets everybody in again. */
  requireTokens(tokens: Readonly<Record<string, string>> | undefined): void;
  /** Refuses matching requests with 403 until the returned function is called. */
  forbid(rule: AccessRule): () => void;
  /** Refuses all requests of a user but those that match; undefined takes the restriction away. */
  allowOnly(user: string, rules: readonly AccessRule[] | undefined): void;
  /** The user of a request; throws 401. */
  authenticate(authorization: string | undefined): string;
  allowed(user: string, info: RequestInfo): boolean;
  /** Throws 403. */
  authorize(user: string, info: RequestInfo): void;
}

export function createAccess(): Access {
  let tokens: Readonly<Record<string, string>> | undefined;
  const denied = new Set<AccessRule>();
  const allowedOnly = new Map<string, readonly AccessRule[]>();
  const access: Access = {
    requireTokens(next) {
      tokens = next;
    },
    forbid(rule) {
      denied.add(rule);
      return () => void denied.delete(rule);
    },
    allowOnly(user, rules) {
      if (rules) allowedOnly.set(user, rules);
      else allowedOnly.delete(user);
    },
    authenticate(authorization) {
      if (!tokens) return 'system:anonymous';
      const token = /^Bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1];
      const user = token !== undefined && Object.hasOwn(tokens, token) ? tokens[token] : undefined;
      if (user === undefined) throw unauthorized();
      return user;
    },
    allowed(user, info) {
      for (const rule of denied) if (matchesRule(rule, user, info)) return false;
      const rules = allowedOnly.get(user);
      return rules === undefined || rules.some((rule) => matchesRule(rule, user, info));
    },
    authorize(user, info) {
      if (access.allowed(user, info)) return;
      const subject = {
        group: info.group,
        resource: info.resource,
        ...(info.name !== undefined && { name: info.name }),
      };
      throw forbidden(subject, user, info.verb, info.namespace);
    },
  };
  return access;
}

function matchesRule(rule: AccessRule, user: string, info: RequestInfo): boolean {
  const has = (list: readonly string[] | undefined, value: string) =>
    list === undefined || list.includes('*') || list.includes(value);
  return (
    (rule.user === undefined || rule.user === user) &&
    has(rule.verbs, info.verb) &&
    has(rule.groups, info.group) &&
    has(rule.resources, info.subresource === undefined ? info.resource : `${info.resource}/${info.subresource}`) &&
    has(rule.namespaces, info.namespace ?? '')
  );
}
