package ratelimit

import (
	"crypto/sha1" //nolint:gosec // it names a script, as Redis does
	"encoding/hex"
	"strconv"
	"time"

	"penstock.dev/penstock/hosts/capability"
)

// The scripts count as count does, in microseconds by the clock of Redis, and grant as
// much of what is asked for as the limit allows.
const (
	// bucketScript has the arguments window, limit, burst, asked; its key holds when the
	// bucket is full.
	bucketScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = ARGV[1] / ARGV[2]
local holds = interval * ARGV[3]
local asked = tonumber(ARGV[4])
local at = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now), now + holds)
local room = math.floor((now + holds - at) / interval + 0.000001)
local granted = math.min(asked, room)
if granted > 0 then
  at = at + granted * interval
  redis.call('SET', KEYS[1], string.format('%.3f', at), 'PX', math.ceil((at - now) / 1000) + 1)
end
local retry = 0
if granted < asked then retry = math.max(math.ceil(at + interval - holds - now), 1) end
return {granted, room - granted, math.ceil(at - now), retry, granted < asked and 1 or 0}`

	// windowScript has the arguments window, limit, asked; its key holds the number of the
	// window, its count, and the count of the one before.
	windowScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local size, limit, asked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local number = math.floor(now / size)
local gone = now - number * size
local had = redis.call('HMGET', KEYS[1], 'n', 'c', 'b')
local current, before = tonumber(had[2] or 0), tonumber(had[3] or 0)
local kept = tonumber(had[1] or -1)
if kept == number - 1 then current, before = 0, current
elseif kept ~= number then current, before = 0, 0 end
local used = before * (size - gone) / size + current
local room = math.max(math.floor(limit - used + 0.000001), 0)
local granted = math.min(asked, room)
if granted > 0 then
  current = current + granted
  redis.call('HSET', KEYS[1], 'n', string.format('%.0f', number), 'c', current, 'b', before)
  redis.call('PEXPIRE', KEYS[1], math.ceil((2 * size - gone) / 1000) + 1)
end
local retry = 0
if granted < asked then
  if current + 1 <= limit then retry = math.ceil((1 - (limit - 1 - current) / before) * size) - gone
  else retry = size - gone + math.ceil((1 - (limit - 1) / current) * size) end
  retry = math.max(retry, 1)
end
local reset = 0
if current > 0 then reset = 2 * size - gone elseif before > 0 then reset = size - gone end
return {granted, room - granted, math.ceil(reset), retry, granted < asked and 1 or 0}`
)

var bucketSHA, windowSHA = sumOf(bucketScript), sumOf(windowScript)

func sumOf(source string) string {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// script is the question for that many events of the key of a name.
func script(r *capability.Rate, name string, asked uint64) *capability.RedisScript {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	s := &capability.RedisScript{Filter: r.Filter, Key: name}
	window := number(uint64(r.Window / time.Microsecond))
	if r.Algorithm == capability.SlidingWindow {
		s.SHA1, s.Source, s.Args = windowSHA, windowScript, []string{window, number(uint64(r.Limit)), number(asked)}
		return s
	}
	burst := r.Burst
	if burst == 0 {
		burst = r.Limit
	}
	s.SHA1, s.Source, s.Args = bucketSHA, bucketScript, []string{window, number(uint64(r.Limit)), number(uint64(burst)), number(asked)}
	return s
}
