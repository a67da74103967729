package node

import (
	"fmt"
	"path/filepath"
	"time"
)

// Config is all that an agent knows at its start.
type Config struct {
	Name, Zone string
	// Address is this node's, PodNetwork (a /24) its Pods'. Router is the address
	// at the other end of eth0 and DNS the nameserver of Pods.
	Address, PodNetwork, Router, DNS string
	// ClusterNetwork is where all Pods' addresses are.
	ClusterNetwork string
	// Kubeconfig is the agent's, ProxyKubeconfig kube-proxy's, ProxyCommand what
	// starts it; none: no kube-proxy.
	Kubeconfig, ProxyKubeconfig string
	ProxyCommand                []string
	// CA, Certificate and Key are files for the agent's own HTTPS port.
	CA, Certificate, Key string
	// Dir is for Pods' files, Log for kube-proxy's log.
	Dir, Log string
	// Images by name without tag and digest.
	Images map[string]Image
	// CNI is off if nil.
	CNI *CNI
	// Backoff is the delay before a container's second restart. Default: 10 s.
	Backoff time.Duration
}

// Image stands for a container image.
type Image struct {
	// Program is a file of this machine, statically linked. The container has it as
	// /bin/NAME, and runs it if it says no command.
	Program string
	// Files are more files and folders, by their path in the container; read-only.
	Files map[string]string
	// User is who runs it if the Pod does not say. Default: 0, root.
	User int64
}

// Absolute makes the paths of images absolute, since agents run elsewhere.
func (c *Config) Absolute() error {
	images := map[string]Image{}
	for name, i := range c.Images {
		var err error
		if i.Program, err = filepath.Abs(i.Program); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		files := map[string]string{}
		for at, from := range i.Files {
			if files[at], err = filepath.Abs(from); err != nil {
				return fmt.Errorf("image %s: %w", name, err)
			}
		}
		i.Files = files
		images[name] = i
	}
	c.Images = images
	return nil
}
