package cases

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"

	"penstock.dev/penstock/core/oci"
)

// Entry returns an entry of an annotation in YAML, key being "use" or "image", with a
// configuration that the cases run the plugin with: the first file's that has one, else
// the first case's that the plugin does not refuse; without one if there is none.
func Entry(key, value string, files []oci.CasesFile) (string, error) {
	one := yaml.Node{Kind: yaml.MappingNode}
	add := func(key string, node *yaml.Node) {
		one.Content = append(one.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, node)
	}
	add(key, &yaml.Node{Kind: yaml.ScalarNode, Value: value})
	config, err := workingConfig(files)
	if err != nil {
		return "", err
	}
	if config != nil {
		add("config", config)
	}
	var b strings.Builder
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode([]*yaml.Node{&one}); err != nil {
		return "", err
	}
	return b.String(), e.Close()
}

func workingConfig(files []oci.CasesFile) (*yaml.Node, error) {
	for _, f := range files {
		var file struct {
			Config yaml.Node
			Cases  []struct {
				Config  yaml.Node
				Refused string
			}
		}
		if err := yaml.Unmarshal(f.Text, &file); err != nil {
			return nil, errors.New(f.Name + ": " + strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if !file.Config.IsZero() {
			return &file.Config, nil
		}
		for i := range file.Cases {
			if c := &file.Cases[i]; !c.Config.IsZero() && c.Refused == "" {
				return &c.Config, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // there is none
}
