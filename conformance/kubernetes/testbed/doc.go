// Package testbed is a small Kubernetes cluster on one machine: the real control
// plane, nodes that are network namespaces, Pods that are processes, and a load
// balancer. It needs no root and no container runtime, is up in seconds, and all
// of it ends with the process that started it, however that ends.
//
// A program first calls Enter, which runs it again in namespaces of its own, and
// then Start. From then on it reaches Pods, ClusterIPs and load balancer
// addresses as a client outside of the cluster would: by routes, with no proxy.
package testbed
