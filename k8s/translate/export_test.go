package translate

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

// Declaration is declaration, for tests.
var Declaration = declaration
