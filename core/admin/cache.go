package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"penstock.dev/penstock/core/cache"
	"penstock.dev/penstock/core/config"
)

// maxShown bounds the stored responses that one answer lists.
const maxShown = 1000

// purge answers DELETE /cache: the query says what goes. The method keeps pages that a
// browser shows from asking for it unasked.
func (s *Server) purge(w http.ResponseWriter, r *http.Request, open bool) {
	if open && !onLoopback(r.Host) { // a name that a stranger has pointed here
		refuse(w, http.StatusForbidden, "ask for it by a loopback address\n")
		return
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse(w, http.StatusBadRequest, "query: "+err.Error()+"\n")
		return
	}
	for name := range q {
		if !slices.Contains([]string{"namespace", "url", "prefix", "hostname", "tag", "soft"}, name) {
			refuse(w, http.StatusBadRequest, "query: "+strconv.Quote(name)+" is not known: there are namespace, url, prefix, hostname, tag and soft\n")
			return
		}
	}
	soft, err := strconv.ParseBool(first(q["soft"], "false"))
	if err != nil || len(q["namespace"]) > 1 {
		refuse(w, http.StatusBadRequest, "query: soft is true or false, and there is one namespace\n")
		return
	}
	removed, err := s.cache.Purge(&config.Purge{
		Namespace: q.Get("namespace"), URLs: q["url"], Prefixes: q["prefix"], Hostnames: q["hostname"], Tags: q["tag"], Soft: soft,
	})
	switch {
	case errors.Is(err, cache.ErrPurge):
		refuse(w, http.StatusBadRequest, err.Error()+"\n")
		return
	case err != nil: // of the disk
		refuse(w, http.StatusInternalServerError, fmt.Sprintf("%d responses are gone, but a restart might bring them back: %v\n", removed, err))
		return
	}
	object(w, struct {
		Removed int `json:"removed"`
	}{removed})
}

func first(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return list[0]
}

// onLoopback reports whether a request's host is this machine by an address, or by
// the name that always means it.
func onLoopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	a, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && a.IsLoopback()
}

// cached answers GET /cache/objects: stored responses of one namespace, those with
// the hostname and the path's beginning that the query says.
func (s *Server) cached(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("namespace") == "" {
		refuse(w, http.StatusBadRequest, "query: namespace is missing\n")
		return
	}
	list, more := s.cache.Stored(q.Get("namespace"), q.Get("hostname"), q.Get("path"), maxShown)
	object(w, struct {
		Objects []cache.Stored `json:"objects"`
		More    bool           `json:"more,omitempty"`
	}{list, more})
}
