import { describe, expect, it } from 'vitest';
import { layOut } from './addressing.ts';

const find = (layout: ReturnType<typeof layOut>, name: string) => layout.nodes.find((node) => node.name === name)!;

describe('the address plan', () => {
  it('gives hosts behind a NAT a gateway and public hosts none', () => {
    const layout = layOut({
      hosts: { edge: { lan: 'home' }, cloud: { lan: 'internet' } },
      routers: { nat: { lan: 'home' } },
    });
    expect(find(layout, 'edge').gateway4).toBe('10.21.0.1');
    expect(find(layout, 'edge').interfaces[0]).toMatchObject({ name: 'eth0', lan: 'home', ipv4: '10.21.0.10' });
    expect(find(layout, 'cloud').gateway4).toBeUndefined();
    expect(find(layout, 'nat').interfaces.map((link) => link.ipv4)).toEqual(['10.21.0.1', '5.1.1.1']);
  });

  it('routes public subnets behind firewalls, also nested ones, and no private ones behind NATs', () => {
    const layout = layOut({
      hosts: { a: { lan: 'inner' }, cloud: { lan: 'internet' }, b: { lan: 'home' } },
      routers: {
        outerWall: { lan: 'dmz', nat: 'firewallOnly' },
        innerWall: { lan: 'inner', uplink: 'dmz', nat: 'routed' },
        nat: { lan: 'home' },
      },
    });
    const subnets = layout.lans.filter((lan) => lan.name === 'dmz' || lan.name === 'inner').map((lan) => lan.subnet4);
    expect(
      find(layout, 'cloud')
        .routes.map((route) => route.subnet)
        .sort(),
    ).toEqual(subnets.sort());
    expect(new Set(find(layout, 'cloud').routes.map((route) => route.via))).toEqual(new Set(['5.1.1.1']));
  });

  it('lets two LANs share one subnet, as homes do', () => {
    const lans = { left: { subnet: '192.168.1.0/24' }, right: { subnet: '192.168.1.0/24' } };
    const layout = layOut({
      lans,
      hosts: { l: { lan: 'left' }, r: { lan: 'right' } },
      routers: { nl: { lan: 'left' }, nr: { lan: 'right' } },
    });
    expect(find(layout, 'l').interfaces[0]!.ipv4).toBe(find(layout, 'r').interfaces[0]!.ipv4);
    expect(find(layout, 'nl').interfaces[1]!.ipv4).not.toBe(find(layout, 'nr').interfaces[1]!.ipv4);
  });

  it('refuses addresses outside their subnet and addresses given twice', () => {
    expect(() => layOut({ hosts: { a: { lan: 'internet', address: '10.0.0.1' } } })).toThrow(/not in 5.1.0.0\/16/);
    const twice = { lan: 'internet', address: '5.1.0.5' };
    expect(() => layOut({ hosts: { a: twice, b: twice } })).toThrow(/given twice/);
  });

  it('writes canonical IPv6 addresses when asked for', () => {
    const layout = layOut({ hosts: { a: { lan: 'internet' } }, ipv6: true });
    expect(find(layout, 'a').interfaces[0]!.ipv6).toBe('2a0e:5100::10');
  });
});
