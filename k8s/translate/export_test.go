package translate

import "penstock.dev/penstock/core/config"

// Unkeep has the next translation look at all parts and routes again; what history
// decides stays.
func (t *Translator) Unkeep() {
	clear(t.kept)
	for _, f := range t.forms.all {
		for _, s := range f.served {
			s.plain = false
		}
	}
}

// With is Statuses.with.
func With(s Statuses, changed map[config.Object]any) Statuses { return s.with(changed) }
