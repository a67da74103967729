package listener

import (
	"penstock.dev/penstock/core/config"
)

// expiry tells when the certificates of all sockets end, each once. l.mu is held.
func (l *Listeners) expiry(wanted []config.Socket) {
	now := map[string]bool{}
	for _, s := range wanted {
		for _, n := range s.Names {
			if n.TLS == nil {
				continue
			}
			for _, c := range n.TLS.Certificates {
				secret := c.Object.Namespace + "/" + c.Object.Name
				now[secret] = true
				l.ends.With(secret).Set(float64(c.NotAfter.Unix()))
			}
		}
	}
	for secret := range l.ending {
		if !now[secret] {
			l.ends.Delete(secret)
		}
	}
	l.ending = now
}
