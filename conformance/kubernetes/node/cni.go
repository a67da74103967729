package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// CNI is a chain of plugins of the Container Network Interface, version 1.0.0.
// The agent itself is the chain's first plugin: it makes eth0 and its address.
// The chain runs with ADD after that, in order, and with DEL before a Pod's
// namespace is gone, in reverse.
type CNI struct {
	// Path is the folder of the plugins' programs.
	Path string
	// Name is the network's, Plugins the configuration of each; "type" names the program.
	Name    string
	Plugins []json.RawMessage
}

const cniVersion = "1.0.0"

// add runs the chain for a new Pod and keeps the last result for remove.
func (c *CNI) add(ctx context.Context, s *sandbox, p *corev1.Pod) error {
	if c == nil {
		return nil
	}
	result := s.result()
	for _, plugin := range c.Plugins {
		out, err := c.call(ctx, "ADD", plugin, result, s, p)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(out)) > 0 {
			result = out
		}
	}
	s.cni = result
	return nil
}

func (c *CNI) remove(ctx context.Context, s *sandbox, p *corev1.Pod) error {
	if c == nil {
		return nil
	}
	for _, plugin := range slices.Backward(c.Plugins) {
		if _, err := c.call(ctx, "DEL", plugin, s.cni, s, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *CNI) call(ctx context.Context, command string, plugin, previous json.RawMessage, s *sandbox, p *corev1.Pod) ([]byte, error) {
	config := map[string]json.RawMessage{}
	if err := json.Unmarshal(plugin, &config); err != nil {
		return nil, fmt.Errorf("CNI plugin: %w", err)
	}
	var kind string
	if err := json.Unmarshal(config["type"], &kind); err != nil {
		return nil, fmt.Errorf("CNI plugin: type: %w", err)
	}
	config["name"], _ = json.Marshal(c.Name)
	config["cniVersion"], _ = json.Marshal(cniVersion)
	if previous != nil {
		config["prevResult"] = previous
	}
	stdin, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.Path, kind))
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+string(p.UID), "CNI_NETNS="+s.netPath(), "CNI_IFNAME=eth0", "CNI_PATH="+c.Path,
		fmt.Sprintf("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_INFRA_CONTAINER_ID=%s;K8S_POD_UID=%s", p.Namespace, p.Name, p.UID, p.UID))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("CNI plugin %s, %s: %w: %s%s", kind, command, err, out, stderr.Bytes())
	}
	return out, nil
}

// result is what a first plugin would have answered.
func (s *sandbox) result() json.RawMessage {
	text, _ := json.Marshal(map[string]any{
		"cniVersion": cniVersion,
		"interfaces": []map[string]string{{"name": s.link}, {"name": "eth0", "sandbox": s.netPath()}},
		"ips":        []map[string]any{{"address": s.addr.String() + "/32", "gateway": s.gateway, "interface": 1}},
		"routes":     []map[string]string{{"dst": "0.0.0.0/0", "gw": s.gateway}},
		"dns":        map[string]any{},
	})
	return text
}
