package config

// Totals bound what the filters that the objects of one namespace declare take
// together. Those of cluster-scoped objects do not count.
type Totals struct {
	Filters         int   // default 10,000
	MemoryBytes     int64 // linear memory of all instances, default 4 GiB
	CPUPercent      int   // of one core, in steps at the fixed rate, over 10 seconds; default 1,600
	CompilesPerHour int   // cold ones, default 120
	ModuleBytes     int64 // of one module, default 64 MiB
	MetricSeries    int   // that guests define, default 10,000
	// Policies names, for a field as PluginPolicy writes it ("memory"), the policy
	// that set it; nothing for a default.
	Policies map[string]string
}

// DefaultTotals returns the totals of a namespace for which no policy has any.
func DefaultTotals() *Totals {
	return &Totals{
		Filters:         10_000,
		MemoryBytes:     4 << 30,
		CPUPercent:      1_600,
		CompilesPerHour: 120,
		ModuleBytes:     64 << 20,
		MetricSeries:    10_000,
	}
}

// Source says for operators who set a field.
func (t *Totals) Source(field string) string {
	if p := t.Policies[field]; p != "" {
		return "PluginPolicy " + p + " (spec.limits.totals." + field + ")"
	}
	return "the default of a PluginPolicy's spec.limits.totals." + field
}
