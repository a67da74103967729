package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// Bounds on what is read.
const (
	maxFileBytes = 4 << 20
	maxDocuments = 10_000 // in a file
	maxFiles     = 10_000
)

// item is one object of a file.
type item struct {
	object config.Object
	group  string
	value  metav1.Object
}

// kind is how objects of a kind are read.
type kind struct {
	clusterScope bool
	new          func() metav1.Object
}

// kinds is what this source reads, by "apiVersion kind".
func kinds() map[string]kind {
	return map[string]kind{
		"gateway.networking.k8s.io/v1 GatewayClass":        {true, func() metav1.Object { return &gatewayv1.GatewayClass{} }},
		"gateway.networking.k8s.io/v1 Gateway":             {false, func() metav1.Object { return &gatewayv1.Gateway{} }},
		"gateway.networking.k8s.io/v1 ListenerSet":         {false, func() metav1.Object { return &gatewayv1.ListenerSet{} }},
		"gateway.networking.k8s.io/v1 HTTPRoute":           {false, func() metav1.Object { return &gatewayv1.HTTPRoute{} }},
		"gateway.networking.k8s.io/v1 GRPCRoute":           {false, func() metav1.Object { return &gatewayv1.GRPCRoute{} }},
		"gateway.networking.k8s.io/v1 BackendTLSPolicy":    {false, func() metav1.Object { return &gatewayv1.BackendTLSPolicy{} }},
		"gateway.networking.k8s.io/v1 TCPRoute":            {false, tcpRoute},
		"gateway.networking.k8s.io/v1alpha2 TCPRoute":      {false, tcpRoute},
		"gateway.networking.k8s.io/v1 TLSRoute":            {false, tlsRoute},
		"gateway.networking.k8s.io/v1alpha3 TLSRoute":      {false, tlsRoute},
		"gateway.networking.k8s.io/v1alpha2 TLSRoute":      {false, tlsRoute},
		"gateway.networking.k8s.io/v1 UDPRoute":            {false, udpRoute},
		"gateway.networking.k8s.io/v1alpha2 UDPRoute":      {false, udpRoute},
		"gateway.networking.k8s.io/v1beta1 ReferenceGrant": {false, func() metav1.Object { return &gatewayv1beta1.ReferenceGrant{} }},
		"gateway.networking.k8s.io/v1 ReferenceGrant":      {false, func() metav1.Object { return &gatewayv1beta1.ReferenceGrant{} }},
		"v1 Service":                         {false, func() metav1.Object { return &corev1.Service{} }},
		"v1 Secret":                          {false, func() metav1.Object { return &corev1.Secret{} }},
		"v1 ConfigMap":                       {false, func() metav1.Object { return &corev1.ConfigMap{} }},
		"v1 Namespace":                       {true, func() metav1.Object { return &corev1.Namespace{} }},
		"discovery.k8s.io/v1 EndpointSlice":  {false, func() metav1.Object { return &discoveryv1.EndpointSlice{} }},
		"penstock.dev/v1alpha1 PluginPolicy": {true, func() metav1.Object { return &api.PluginPolicy{} }},
		"penstock.dev/v1alpha1 Plugin":       {true, func() metav1.Object { return &api.Plugin{} }},
		"penstock.dev/v1alpha1 PluginChain":  {false, func() metav1.Object { return &api.PluginChain{} }},

		"penstock.dev/v1alpha1 ProxyParameters": {false, func() metav1.Object { return &api.ProxyParameters{} }},
		"penstock.dev/v1alpha1 CachePurge":      {false, func() metav1.Object { return &api.CachePurge{} }},
		"penstock.dev/v1alpha1 Consumer":        {false, func() metav1.Object { return &api.Consumer{} }},
	}
}

// The versions of these kinds have the same fields.
func tcpRoute() metav1.Object { return &gatewayv1.TCPRoute{} }
func tlsRoute() metav1.Object { return &gatewayv1.TLSRoute{} }
func udpRoute() metav1.Object { return &gatewayv1.UDPRoute{} }

// parsed is what a file says.
type parsed struct {
	items    []item             // that are right
	unread   []translate.Unread // that could not be read
	problems []translate.Problem
	bad      bool // a document could not be read
}

// parse reads all documents of a file.
func parse(file string, text []byte) parsed {
	if len(text) > maxFileBytes {
		return unknown(file, fmt.Errorf("%d bytes, at most %d: split the file", len(text), maxFileBytes))
	}
	var made parsed
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n")) // YAML 1.2, 5.4
	documents, all := split(text)
	if !all {
		made = unknown(file, fmt.Errorf("more than %d documents: split the file", maxDocuments))
	}
	for _, d := range documents {
		at := fmt.Sprintf("%s:%d", file, d.line)
		more, lost, err := document(d.text)
		for _, u := range lost {
			u.File = at
			made.unread = append(made.unread, u)
		}
		for _, e := range unjoin(err) {
			p := translate.Problem{File: at, Reason: "Invalid", Message: e.Error()}
			var known *problem
			if errors.As(e, &known) {
				p.Object, p.Field, p.Message, p.Reason, p.Warning = known.object, known.field, known.message, known.reason, known.warning
			}
			made.problems = append(made.problems, p)
			made.bad = made.bad || !p.Warning
		}
		made.items = append(made.items, more...)
	}
	return made
}

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// problem is an error about an object.
type problem struct {
	object                 config.Object
	field, reason, message string
	warning                bool
}

func (p *problem) Error() string { return p.object.String() + ": " + p.field + ": " + p.message }

type part struct {
	text []byte
	line int
}

// split cuts a stream of documents at lines that begin with three dashes, or with
// three dots (YAML 1.2, 9.1). all is false if there are more than are read.
func split(text []byte) (parts []part, all bool) {
	start, line, at := 0, 1, 1
	all = true
	add := func(end int) {
		switch {
		case len(bytes.TrimSpace(text[start:end])) == 0:
		case len(parts) == maxDocuments:
			all = false
		default:
			parts = append(parts, part{text[start:end], at})
		}
	}
	for i := 0; i < len(text); {
		next := bytes.IndexByte(text[i:], '\n')
		if next < 0 {
			next = len(text) - i - 1
		}
		if l := text[i : i+next+1]; (bytes.HasPrefix(l, []byte("---")) || bytes.HasPrefix(l, []byte("..."))) && (len(l) == 3 || strings.ContainsRune(" \t\r\n", rune(l[3]))) {
			add(i)
			start, at = i+3, line
		}
		i += next + 1
		line++
	}
	add(len(text))
	return parts, all
}

// document reads one document: an object, or a List of them.
func document(text []byte) ([]item, []translate.Unread, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, mentioned(text), errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	if string(bytes.TrimSpace(asJSON)) == "null" { // comments only
		return nil, nil, nil
	}
	var head struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(asJSON, &head); err != nil {
		return nil, mentioned(text), errors.New("not a Kubernetes object: want a mapping with apiVersion and kind")
	}
	if head.APIVersion == "v1" && head.Kind == "List" {
		var all []item
		var lost []translate.Unread
		var errs []error
		for i, one := range head.Items {
			it, more, err := object(one)
			if err != nil {
				errs = append(errs, unjoin(fmt.Errorf("items[%d]: %w", i, err))...)
			}
			all, lost = append(all, it...), append(lost, more...)
		}
		return all, lost, errors.Join(errs...)
	}
	return object(asJSON)
}

// object reads one object, or what can be told of one that is wrong.
func object(text []byte) ([]item, []translate.Unread, error) {
	items, err := decode(text)
	var known *problem
	if err == nil || errors.As(err, &known) && known.warning {
		return items, nil, err
	}
	lost := salvage(text)
	if apiVersion, _ := word(mapping(text)["apiVersion"]); lost.Object.Kind == "" {
		if groupOf(apiVersion) != ownGroup {
			return nil, nil, err // no object that guards anything
		}
		lost = translate.Unread{}
	}
	return nil, []translate.Unread{lost}, err
}

// decode reads one object strictly and does what the API server would do.
func decode(text []byte) ([]item, error) {
	var meta metav1.PartialObjectMetadata
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &meta); err != nil {
		return nil, fmt.Errorf("not a Kubernetes object: %w", err)
	}
	o := config.Object{Kind: meta.Kind, Namespace: meta.Namespace, Name: meta.Name}
	if meta.Kind == "" || meta.APIVersion == "" {
		return nil, errors.New("apiVersion or kind is missing")
	}
	k, ok := kinds()[meta.APIVersion+" "+meta.Kind]
	if one, list := strings.CutSuffix(meta.Kind, "List"); !ok && list && guards(meta.APIVersion, one) {
		return nil, &problem{object: o, field: "kind", reason: "UnknownKind", message: fmt.Sprintf("%s is not read here: want kind List of v1", meta.Kind)}
	}
	if !ok && guards(meta.APIVersion, meta.Kind) {
		return nil, &problem{object: o, field: "apiVersion", reason: "UnknownKind", message: fmt.Sprintf("%s of %s is not read here: want another version", meta.Kind, meta.APIVersion)}
	}
	if !ok {
		return nil, &problem{object: o, field: "kind", reason: "UnknownKind", message: fmt.Sprintf("%s %s is not read here: it is left out", meta.APIVersion, meta.Kind), warning: true}
	}
	value := k.new()
	strict, err := kjson.UnmarshalStrict(text, value)
	if err != nil {
		return nil, &problem{object: o, reason: "Invalid", message: err.Error()}
	}
	var errs []error
	for _, e := range strict {
		errs = append(errs, &problem{object: o, reason: "Invalid", message: e.Error()})
	}
	if why := validation.IsDNS1123Subdomain(meta.Name); len(why) > 0 {
		errs = append(errs, &problem{object: o, field: "metadata.name", reason: "Invalid", message: why[0]})
	}
	switch {
	case k.clusterScope:
		value.SetNamespace("")
	case meta.Namespace == "":
		value.SetNamespace("default")
	default:
		if why := validation.IsDNS1123Label(meta.Namespace); len(why) > 0 {
			errs = append(errs, &problem{object: o, field: "metadata.namespace", reason: "Invalid", message: why[0]})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	group, _, _ := strings.Cut(meta.APIVersion, "/")
	complete(value, group, meta.Kind, text)
	return []item{{config.Object{Kind: meta.Kind, Namespace: value.GetNamespace(), Name: meta.Name}, group, value}}, nil
}

// complete gives an object the identity and the defaults of the API server.
func complete(o metav1.Object, group, kind string, text []byte) {
	o.SetUID(types.UID(hash([]byte(group + "\n" + kind + "\n" + o.GetNamespace() + "\n" + o.GetName()))))
	o.SetResourceVersion(hash(text))
	switch o := o.(type) {
	case *api.CachePurge: // one that was changed is another one
		spec, _ := json.Marshal(o.Spec)
		o.SetUID(types.UID(hash([]byte("CachePurge\n" + o.Namespace + "\n" + o.Name + "\n" + string(spec)))))
	case *corev1.Secret:
		if o.Data == nil {
			o.Data = map[string][]byte{}
		}
		for key, value := range o.StringData {
			o.Data[key] = []byte(value)
		}
		o.StringData = nil
	case *corev1.Namespace:
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[corev1.LabelMetadataName] = o.Name
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
