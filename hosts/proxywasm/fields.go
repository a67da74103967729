package proxywasm

import "penstock.dev/penstock/core/filter"

// maxSetFields bounds what penstock.set_response_headers keeps for one stream.
const maxSetFields = 64

// setResponseHeaders is penstock.set_response_headers: a serialised map, whose fields the
// response's head gets when it reaches the filter, before proxy_on_response_headers, as
// proxy_replace_header_map_value would set them there. So a plugin that decides at the
// request what the response says needs no callback for it. Only with the request's
// headers: then the response is not here yet. A plugin that wants no callback of the
// response's headers must have said bit 256 of penstock.set_callbacks. What is refused
// changes nothing.
func setResponseHeaders(v *vm, args []byte) uint32 {
	s := v.reach(wayRequest)
	if v.r.f.callbacks&filter.OnResponseHeaders == 0 { // nobody would set them
		return statusBadArgument
	}
	if s == nil || s.x == nil || s.ways[wayRequest].stage != stageHeaders || s.ways[wayResponse].stage != stageNone {
		return statusBadArgument
	}
	before := len(s.fields)
	fields, err := addPairs(s.fields, args)
	if err != nil || !s.keepFields(fields, before) {
		clear(fields[before:]) // they are in the guest's memory
		return statusBadArgument
	}
	s.fields = fields
	return statusOK
}

// keepFields copies the fields from the one at before on, unless one of them cannot be
// set; what the codec alone decides is ignored, as in a map.
func (s *stream) keepFields(fields []pair, before int) bool {
	w, size := view{s: s, h: &s.x.Response.Header, kind: mapResponseHeaders}, 0
	for _, p := range fields[before:] {
		s.v.i.Spend(searchSteps(maxSetFields, len(p.name)))
		if size += len(p.name) + len(p.value); !w.check(p.name, p.value) || p.name[0] == ':' {
			return false
		}
	}
	if len(fields) > maxSetFields || !s.grow(size) {
		return false
	}
	for i := before; i < len(fields); i++ {
		fields[i] = pair{s.copy(fields[i].name), s.copy(fields[i].value)}
	}
	return true
}
