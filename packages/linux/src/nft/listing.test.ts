import { describe, expect, it } from 'vitest';
import { compareListing, parseElements } from './listing.ts';

describe('the listing of a set', () => {
  it('gives back elements, values and counters', () => {
    const text = `table inet edgemesh {
	map svc4_kernel {
		type ipv4_addr . inet_proto . inet_service : verdict
		counter
		elements = { 10.96.0.2 . udp . 53 counter packets 7 bytes 99 : drop,
			     10.96.0.1 . tcp . 80 counter packets 0 bytes 0 : goto svc4_tcp_pick_1 }
	}
}`;
    expect(parseElements(text)).toEqual([
      { key: '10.96.0.2 . udp . 53', value: 'drop', packets: 7 },
      { key: '10.96.0.1 . tcp . 80', value: 'goto svc4_tcp_pick_1', packets: 0 },
    ]);
  });

  it('knows empty sets and elements that expire', () => {
    expect(parseElements('table inet t {\n\tset s {\n\t\ttype inet_proto\n\t}\n}\n')).toEqual([]);
    expect(parseElements('elements = { tcp timeout 20s expires 19s980ms, udp timeout 20s expires 1s }')).toEqual([
      { key: 'tcp', value: '' },
      { key: 'udp', value: '' },
    ]);
  });

  it('counts what is missing, changed and foreign', () => {
    const expected = [
      { set: 's', key: 'a', value: '1' },
      { set: 's', key: 'b', value: '2' },
    ];
    expect(compareListing('s', expected, expected)).toBeUndefined();
    const listed = [
      { key: 'a', value: '1' },
      { key: 'b', value: '3' },
      { key: 'c', value: '4' },
    ];
    expect(compareListing('s', expected, listed)).toEqual({ set: 's', missing: 1, foreign: 2 });
  });
});
