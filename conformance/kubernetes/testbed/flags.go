package testbed

import "time"

// The control plane's command lines. All that is not said is Kubernetes' default.

func etcdFlags() []string {
	return []string{
		"etcd", "--name=testbed", "--data-dir=" + dir("etcd"),
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=testbed=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level=warn",
	}
}

// auditPolicy has the API server log what Penstock's accounts ask of it.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: ["system:serviceaccounts:penstock-system"]}
- {level: None}
`

func apiserverFlags() []string {
	pki := func(name string) string { return dir("pki", name) }
	return []string{
		"kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=" + ControlAddress, "--advertise-address=" + ControlAddress, "--secure-port=6443",
		"--client-ca-file=" + pki("ca.crt"), "--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--service-cluster-ip-range=" + ServiceNetwork,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pki("tokens.key"), "--service-account-signing-key-file=" + pki("tokens.key"),
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority=" + pki("ca.crt"),
		"--kubelet-client-certificate=" + pki("apiserver-kubelet.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet.key"),
		"--profiling=false", "--audit-policy-file=" + dir("audit.yaml"), "--audit-log-path=" + dir("log", "audit.log"), "--audit-log-mode=blocking",
	}
}

func managerFlags(kubeconfig string, grace time.Duration) []string {
	return []string{
		"kube-controller-manager", "--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1", "--use-service-account-credentials",
		"--service-account-private-key-file=" + dir("pki", "tokens.key"), "--root-ca-file=" + dir("pki", "ca.crt"),
		"--allocate-node-cidrs=false", "--controllers=*,-node-ipam-controller",
		"--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-namespace-syncs=20",
		"--node-monitor-grace-period=" + grace.String(), "--node-monitor-period=1s", "--profiling=false",
	}
}

func schedulerFlags(kubeconfig string) []string {
	return []string{
		"kube-scheduler", "--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", "--bind-address=127.0.0.1", "--kube-api-qps=500", "--kube-api-burst=1000", "--profiling=false",
	}
}
