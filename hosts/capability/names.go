package capability

// Names of capabilities (annotations.md, section 3).
const (
	Consumer  = "consumer"
	HTTPCalls = "http-call"
	Cache     = "cache"
	KV        = "kv"
	RateLimit = "ratelimit"
	Crypto    = "crypto"
	Redis     = "redis"
	Compress  = "compress"
)
