import { describe, expect, it } from 'vitest';
import { createRecordingRunner } from '../exec.ts';
import { createPodRoutes, routeChanges } from './pod-routes.ts';

const context = { tun: 'tun9', protocol: '94', source: '10.244.1.1' };

describe('the changes of the pod routes', () => {
  it('add what is missing, with the source that the other side accepts', () => {
    const wanted = [{ cidr: '10.244.2.0/24' }, { cidr: '10.244.3.0/24', gateway: '192.168.1.3' }];
    expect(routeChanges(wanted, [], context)).toEqual([
      'route replace 10.244.2.0/24 dev tun9 src 10.244.1.1 proto 94',
      'route replace 10.244.3.0/24 via 192.168.1.3 proto 94',
    ]);
  });

  it('leave alone what is right, replace what is not, and delete the rest', () => {
    const present = [
      { dst: '10.244.2.0/24', dev: 'tun9', prefsrc: '10.244.1.1' },
      { dst: '10.244.3.0/24', dev: 'tun9', prefsrc: '10.244.1.1' },
      { dst: '10.244.4.0/24', dev: 'eth0', gateway: '192.168.1.4' },
      { dst: '10.244.5.0/24', dev: 'eth0', gateway: '192.168.1.5' },
    ];
    const wanted = [
      { cidr: '10.244.2.0/24' },
      { cidr: '10.244.3.0/24', gateway: '192.168.1.3' },
      { cidr: '10.244.4.0/24', gateway: '192.168.1.4' },
    ];
    expect(routeChanges(wanted, present, context)).toEqual([
      'route replace 10.244.3.0/24 via 192.168.1.3 proto 94',
      'route del 10.244.5.0/24 proto 94',
    ]);
  });
});

describe('the survey of the host', () => {
  it('tells subnets from routes of others, and leaves ours and default routes out', async () => {
    const routes = [
      { dst: 'default', gateway: '192.168.1.254', dev: 'eth0', protocol: 'dhcp' },
      { dst: '192.168.1.0/24', dev: 'eth0', protocol: 'kernel', scope: 'link' },
      { dst: '10.244.7.0/24', gateway: '192.168.1.7', dev: 'eth0', protocol: 'bird' },
      { dst: '10.244.2.0/24', dev: 'tun9', protocol: '94' },
    ];
    const runner = createRecordingRunner(({ args }) => (args.includes('-4') ? { stdout: JSON.stringify(routes) } : {}));
    const survey = await createPodRoutes({ tun: 'tun9', protocol: 94, runner }).survey();
    expect(survey.subnets).toEqual([{ cidr: '192.168.1.0/24', device: 'eth0' }]);
    expect([...survey.foreign]).toEqual(['192.168.1.0/24', '10.244.7.0/24']);
  });
});
