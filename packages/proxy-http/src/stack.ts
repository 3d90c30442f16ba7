import type { Layer } from './layer.ts';
import { answerHere } from './layers/answer-here.ts';
import { changeHeaders } from './layers/change-headers.ts';
import { checkTarget } from './layers/check-target.ts';
import { cors } from './layers/cors.ts';
import { forward } from './layers/forward.ts';
import { identify } from './layers/identify.ts';
import { injectFaults } from './layers/inject-faults.ts';
import { keepSession } from './layers/keep-session.ts';
import { matchRoute } from './layers/match-route.ts';
import { mirror } from './layers/mirror.ts';
import { observe } from './layers/observe.ts';
import { tellForwarded } from './layers/tell-forwarded.ts';

/**
 * What every request passes, outermost first. Count and log all; refuse what no route may see; name the request; say who
 * asks; find the route; CORS before faults, so that browsers can read a fault; answer what needs no backend; then mark
 * the session, change headers, copy, and forward.
 */
export const STACK: readonly Layer[] = [
  observe,
  checkTarget,
  identify,
  tellForwarded,
  matchRoute,
  cors,
  injectFaults,
  answerHere,
  keepSession,
  changeHeaders,
  mirror,
  forward,
];
