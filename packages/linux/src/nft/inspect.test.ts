import { describe, expect, it } from 'vitest';
import { createRecordingRunner } from '../exec.ts';
import { inspectNatChains, readFrontendCounts } from './inspect.ts';

const CHAINS = `table ip kube-proxy {
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
	}
	chain services {
	}
}
table inet edgemesh {
	chain nat_prerouting {
		type nat hook prerouting priority -110; policy accept;
	}
}
table inet early {
	chain out {
		type nat hook output priority dstnat - 20; policy accept;
	}
	chain post {
		type nat hook postrouting priority srcnat; policy accept;
	}
	chain in {
		type filter hook input priority filter + 10; policy accept;
	}
}
`;

describe('what else is in the kernel', () => {
  it('names those who translate before us and after us', async () => {
    const runner = createRecordingRunner(() => ({ stdout: CHAINS }));
    expect(await inspectNatChains(runner)).toEqual([
      {
        family: 'ip',
        table: 'kube-proxy',
        chain: 'nat-prerouting',
        hook: 'prerouting',
        priority: -100,
        beforeUs: false,
      },
      { family: 'inet', table: 'early', chain: 'out', hook: 'output', priority: -120, beforeUs: true },
    ]);
  });

  it('counts connections per frontend', async () => {
    const runner = createRecordingRunner((call) =>
      call.args.includes('svc4_kernel')
        ? { stdout: 'elements = { 10.96.0.1 . tcp . 80 counter packets 7 bytes 420 : goto svc4_tcp_pick_1 }' }
        : {},
    );
    expect(await readFrontendCounts(runner)).toEqual([
      { frontend: '10.96.0.1 . tcp . 80', by: 'kernel', connections: 7 },
    ]);
  });
});
