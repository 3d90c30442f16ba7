import { randomInt } from 'node:crypto';

/** Everything of one run lives in its own 127.N.0.0/16, so that several runs do not meet. */
export interface Topology {
  readonly server: { readonly address: string; readonly port: number };
  readonly agents: readonly AgentPlan[];
  readonly backends: readonly BackendPlan[];
  readonly services: readonly ServicePlan[];
  /** The DNS server of edge-a. */
  readonly dns: { readonly address: string; readonly port: number };
}

export interface AgentPlan {
  readonly node: string;
  readonly address: string;
  readonly role: string;
  /** Reachable from outside, as a cloud node is. */
  readonly public: boolean;
  /** Applications on this node use DNS and proxy. */
  readonly serves: boolean;
}

export interface BackendPlan {
  readonly node: string;
  readonly address: string;
  readonly http: number;
  readonly tcp: number;
  readonly udp: number;
}

export interface ServicePlan {
  readonly name: string;
  readonly clusterIP: string;
  readonly port: number;
  readonly protocol: 'TCP' | 'UDP';
  readonly portName: string;
  readonly targetPort: number;
  readonly nodes: readonly string[];
}

const TUNNEL_PORT = 20006;
const DNS_PORT = 1053;
const BACKEND = { http: 8080, tcp: 7000, udp: 7001 };

export function makeTopology(network = `127.${randomInt(10, 250)}`): Topology {
  const agents: AgentPlan[] = [
    {
      node: 'edge-a',
      address: `${network}.1.1`,
      role: 'an edge node; the applications that call are here',
      public: false,
      serves: true,
    },
    {
      node: 'edge-b',
      address: `${network}.2.1`,
      role: 'an edge node that nobody can dial from outside',
      public: false,
      serves: false,
    },
    { node: 'cloud', address: `${network}.3.1`, role: 'a node with a public address', public: true, serves: false },
  ];
  const backends = agents
    .filter(({ node }) => node !== 'edge-a')
    .map(({ node }, i): BackendPlan => ({ node, address: `${network}.${i + 2}.100`, ...BACKEND }));
  const both = ['edge-b', 'cloud'];
  const tcp = { protocol: 'TCP' } as const;
  const services: ServicePlan[] = [
    {
      name: 'hello',
      clusterIP: `${network}.96.1`,
      port: 8080,
      ...tcp,
      portName: 'http',
      targetPort: BACKEND.http,
      nodes: both,
    },
    {
      name: 'echo',
      clusterIP: `${network}.96.2`,
      port: 7007,
      ...tcp,
      portName: 'tcp-echo',
      targetPort: BACKEND.tcp,
      nodes: ['edge-b'],
    },
    {
      name: 'chat',
      clusterIP: `${network}.96.3`,
      port: 8081,
      ...tcp,
      portName: 'http-ws',
      targetPort: BACKEND.http,
      nodes: ['cloud'],
    },
    {
      name: 'sensor',
      clusterIP: `${network}.96.4`,
      port: 7008,
      protocol: 'UDP',
      portName: 'udp-echo',
      targetPort: BACKEND.udp,
      nodes: ['edge-b'],
    },
  ];
  return {
    server: { address: `${network}.0.1`, port: TUNNEL_PORT },
    agents,
    backends,
    services,
    dns: { address: `${network}.1.1`, port: DNS_PORT },
  };
}

/** Ordinary Kubernetes YAML of a Service and its EndpointSlice. */
export function manifestOf(service: ServicePlan, backends: readonly BackendPlan[]): string {
  const endpoints = backends.filter(({ node }) => service.nodes.includes(node));
  return `apiVersion: v1
kind: Service
metadata:
  name: ${service.name}
  namespace: default
spec:
  clusterIP: ${service.clusterIP}
  selector:
    app: ${service.name}
  ports:
    - name: ${service.portName}
      port: ${service.port}
      protocol: ${service.protocol}
      targetPort: ${service.targetPort}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: ${service.name}-1
  namespace: default
  labels:
    kubernetes.io/service-name: ${service.name}
addressType: IPv4
ports:
  - name: ${service.portName}
    port: ${service.targetPort}
    protocol: ${service.protocol}
endpoints:
${endpoints
  .map(
    ({ node, address }) => `  - addresses: ['${address}']
    nodeName: ${node}
    conditions:
      ready: true
`,
  )
  .join('')}`;
}

/** The configuration file of an agent, as an operator would write it. */
export function configOf(agent: AgentPlan, topology: Topology, folder: string): string {
  const { server, dns } = topology;
  return `apiVersion: agent.edgemesh.config.kubeedge.io/v1alpha1
kind: EdgeMeshAgent
commonConfig:
  manifestDir: ${folder}/manifests
  dataDir: ${folder}/${agent.node}
  adminListen: ${agent.address}:10551
modules:
  edgeDNS:
    enable: ${agent.serves}
    listenAddress: ['${dns.address}']
    listenPort: ${dns.port}
  edgeProxy:
    enable: ${agent.serves}
    listeners: loopback # no root: a listener on each ClusterIP, which are loopback addresses here
  edgeTunnel:
    enable: true
    listenAddress: ['${agent.address}']
    listenPort: ${TUNNEL_PORT}
    mdns: false
    holePunch: 'off'
    extraFilteredInterfaces: lo # pretend that the three nodes share no LAN
    advertiseAddress: [${agent.public ? `'${agent.address}'` : ''}]
    relayNodes:
      - nodeName: server
        advertiseAddress: ['${server.address}']
    psk:
      path: ${folder}/psk
`;
}
