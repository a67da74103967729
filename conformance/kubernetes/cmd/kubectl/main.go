//go:build !cgo

// Command kubectl is Kubernetes' own client, of the version that the testbed
// runs. It is only built without cgo, as controlplane.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
