// Package node is the agent of a testbed's node: it does what a kubelet and a
// container runtime do, for Pods whose containers are processes and whose images
// are programs of this machine.
//
// A Pod has network, UTS and IPC namespaces of its own, a container PID and mount
// namespaces besides. Not done: cgroups (limits and requests of resources are not
// enforced), seccomp and AppArmor profiles, devices, host namespaces, volumes
// other than emptyDir, configMap, secret, downwardAPI and projected, subPathExpr,
// postStart hooks, ephemeral containers, terminal sizes, static Pods.
package node
