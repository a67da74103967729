package cases

import (
	"context"
	"slices"

	"penstock.dev/penstock/core/filter"
)

// ofExports are the callbacks of a stream that a Proxy-Wasm plugin may say it does not want.
var ofExports = map[string]filter.Callbacks{
	"proxy_on_request_headers": filter.OnRequestHeaders, "proxy_on_request_body": filter.OnRequestBody, "proxy_on_request_trailers": filter.OnRequestTrailers,
	"proxy_on_response_headers": filter.OnResponseHeaders, "proxy_on_response_body": filter.OnResponseBody, "proxy_on_response_trailers": filter.OnResponseTrailers,
}

// Unwanted returns the callbacks that the module exports and that the plugin wanted in no
// case that ran (penstock.set_callbacks): where an SDK exports what the author wrote, and
// nothing else, one of them was forgotten.
func (b *Bed) Unwanted(ctx context.Context) ([]string, error) {
	if !b.ran {
		return nil, nil
	}
	m, err := b.engine.Load(ctx, b.o.Plugin.Module)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return slices.DeleteFunc(m.Exports(), func(name string) bool { return ofExports[name] == 0 || b.wanted&ofExports[name] != 0 }), nil
}
