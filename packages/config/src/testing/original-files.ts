/** Configuration files as users of the original have them: its manifests, rendered Helm charts and documentation. */
export const ORIGINAL_AGENT_FILES: Readonly<Record<string, string>> = {
  'build/agent/resources/04-configmap.yaml': `# For more detailed configuration, please refer to: https://edgemesh.netlify.app/reference/config-items.html#edgemesh-agent-cfg
modules:
  edgeProxy:
    enable: true
  edgeTunnel:
    enable: true
    #relayNodes:
    #- nodeName: <your relay node name1>
    #  advertiseAddress:
    #  - 1.1.1.1
`,
  'the same with relay nodes, as the quick start tells': `modules:
  edgeProxy:
    enable: true
  edgeTunnel:
    enable: true
    relayNodes:
    - nodeName: k8s-master
      advertiseAddress:
      - 1.1.1.1
    - nodeName: ke-edge1
      advertiseAddress:
      - 2.2.2.2
      - 3.3.3.3
`,
  'reference/config-items, edgemesh-agent-cfg': `apiVersion: agent.edgemesh.config.kubeedge.io/v1alpha1
kind: EdgeMeshAgent
kubeAPIConfig:
  master: https://119.8.211.54:6443
  contentType: application/vnd.kubernetes.protobuf
  qps: 100
  burst: 200
  kubeConfig: /root/.kube/config
  metaServer:
    server: http://127.0.0.1:10550
    security:
      requireAuthorization: false
      insecureSkipTLSVerify: false
      tlsCaFile: /etc/edgemesh/metaserver/rootCA.crt
      tlsCertFile: /etc/edgemesh/metaserver/server.crt
      tlsPrivateKeyFile: /etc/edgemesh/metaserver/server.key
  deleteKubeConfig: false
commonConfig:
  bridgeDeviceName: edgemesh0
  bridgeDeviceIP: 169.254.96.16
modules:
  edgeDNS:
    enable: false
    listenPort: 53
    cacheDNS:
      enable: false
      autoDetect: true
      upstreamServers:
      - 10.96.0.10
      - 1.1.1.1
      cacheTTL: 30
  edgeProxy:
    enable: false
    socks5Proxy:
      enable: false
      listenPort: 10800
    loadBalancer:
      consistentHash:
        partitionCount: 100
        replicationFactor: 10
        load: 1.25
    serviceFilterMode: FilterIfLabelExists
  edgeTunnel:
    enable: true
    listenPort: 20006
    transport: tcp
    rendezvous: EDGEMESH_PLAYGOUND
    relayNodes:
    - nodeName: k8s-master
      advertiseAddress:
      - 1.1.1.1
    - nodeName: ke-edge1
      advertiseAddress:
      - 2.2.2.2
      - 3.3.3.3
    enableIpfsLog: false
    maxCandidates: 5
    heartbeatPeriod: 120
    finderPeriod: 60
    psk:
      enable: true
      path: /etc/edgemesh/psk
    tunnelLimitConfig:
      enable: false
      tunnelBaseStreamIn: 10240
      tunnelBaseStreamOut: 10240
      TunnelPeerBaseStreamIn: 1024
      tunnelPeerBaseStreamOut: 1024
`,
  'Helm chart 1.17 with much set': `kubeAPIConfig:
  burst: 200
  qps: 100
  metaServer:
    security:
      requireAuthorization: true
      insecureSkipTLSVerify: true
commonConfig:
  bridgeDeviceName: edgemesh0
  bridgeDeviceIP: 169.254.96.16
  pprofConfig:
    enableProfiling: true
    profilingAddress: 127.0.0.1
    profilingPort: 10551
modules:
  edgeDNS:
    enable: true
    cacheDNS:
      enable: true
      autoDetect: true
      upstreamServers:
      - 10.96.0.10
      cacheTTL: 30
  edgeProxy:
    enable: true
    serviceFilterMode: FilterIfLabelDoesNotExists
    socks5Proxy:
      enable: true
    loadBalancer:
      consistentHash:
        load: 1.25
    serviceFilterMode: FilterIfLabelDoesNotExists
  edgeTunnel:
    enable: true
    relayNodes:
    - nodeName: k8s-master
      advertiseAddress:
      - Relay.Example.Com
      - 1.1.1.1
    listenInterfaces: lo,eth0
    extraFilteredInterfaces: wlan0
    metricConfig:
      enable: true
      port: 9999
  edgeCNI:
    enable: true
    meshCIDRConfig:
      cloudCIDR:
      - 10.244.1.0/24
      edgeCIDR:
      - 10.244.5.0/24
      - 10.244.6.0/24
`,
  'Helm chart with sections that rendered empty': `kubeAPIConfig:
commonConfig:
modules:
  edgeDNS:
  edgeProxy:
    enable: true
    socks5Proxy:
  edgeTunnel:
    enable: true
    relayNodes:
    psk:
`,
  'documentation of 1.9': `apiVersion: agent.edgemesh.config.kubeedge.io/v1alpha1
kind: EdgeMeshAgent
kubeAPIConfig:
  master: https://119.8.211.54:6443
  kubeConfig: /root/.kube/config
  qps: 100
  burst: 200
commonConfig:
  mode: DebugMode
  configMapName: edgemesh-agent-cfg
  dummyDeviceIP: 169.254.96.17
  dummyDeviceName: edgemesh1
goChassisConfig:
  loadBalancer:
    defaultLBStrategy: RoundRobin
modules:
  edgeDNS:
    enable: true
    listenPort: 53
  edgeProxy:
    enable: true
    listenPort: 40001
    subNet: 10.96.0.0/12
  edgeGateway:
    enable: true
    nic: "*"
    includeIP: "*"
    excludeIP: "*"
  tunnel:
    enable: true
    listenPort: 20007
    nodeName: ke-edge1
    security:
      enable: true
      httpServer: https://119.8.211.54:10002
`,
};

export const ORIGINAL_GATEWAY_FILES: Readonly<Record<string, string>> = {
  'build/gateway/resources/04-configmap.yaml': `modules:
  edgeGateway:
    enable: true
  edgeTunnel:
    enable: true
`,
  'reference/config-items, edgemesh-gateway-cfg (its stray commas removed)': `apiVersion: gateway.edgemesh.config.kubeedge.io/v1alpha1
kind: EdgeMeshGateway
kubeAPIConfig:
  master: https://119.8.211.54:6443
modules:
  edgeGateway:
    enable: true
    nic: "lo,eth0"
    includeIP: "192.168.0.1,172.16.0.1"
    excludeIP: "10.0.0.1"
    loadBalancer:
      consistentHash:
        partitionCount: 100
        replicationFactor: 10
        load: 1.25
  edgeTunnel:
    enable: true
    tunnelLimitConfig:
      TunnelPeerBaseStreamIn: 1024
pprofConfig:
  enableProfiling: true
  profilingAddress: 127.0.0.1
  profilingPort: 9090
`,
};
