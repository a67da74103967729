package proxywasm

import (
	"errors"
	"time"

	"penstock.dev/penstock/hosts/capability"
	"penstock.dev/penstock/hosts/capability/redis"
)

// Messages for an operator whose plugin gets no Redis.
const (
	noRedis      = "the plugin asks for Redis, and the ProxyParameters of its Gateway or GatewayClass name none: set spec.redis there"
	refusedRedis = "the plugin's Redis command was refused: only listed commands on keys of its own are sent (docs/parameters.md)"
)

// mayRedis says whether the filter can send commands; the status is for the
// guest: INTERNAL_FAILURE without the right, UNIMPLEMENTED without a Redis.
func (v *vm) mayRedis() uint32 {
	f := v.r.f
	if !f.allowed(capability.Redis) {
		return statusInternal
	}
	if f.abi.o.Redis == nil || f.config.Redis == nil {
		f.log.once("no redis", noRedis)
		return statusUnimplemented
	}
	return statusOK
}

// redisInit is proxy_redis_init: service, user, password, each with its size,
// then a timeout in milliseconds. Where Redis is and who we are there is the
// operator's word; only the timeout counts.
func redisInit(v *vm, p []uint64) uint32 {
	for i := 0; i < 6; i += 2 {
		if _, ok := v.read(p[i], p[i+1]); !ok {
			return statusInvalidMemory
		}
	}
	if status := v.mayRedis(); status != statusOK {
		return status
	}
	if int32(u(p[6])) < 0 {
		return statusBadArgument
	}
	v.r.redisTimeout = time.Duration(u(p[6])) * time.Millisecond
	return statusOK
}

// redisCall is proxy_redis_call: service, query, each with its size, then where
// the call's number goes.
func redisCall(v *vm, p []uint64) uint32 {
	_, ok := v.read(p[0], p[1])
	query, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 || !v.writeU32(p[4], 0) {
		return statusInvalidMemory
	}
	if status := v.mayRedis(); status != statusOK {
		return status
	}
	if len(query) > redis.MaxQuery {
		return statusBadArgument
	}
	if v.r.calls >= maxCalls {
		return statusInternal
	}
	c := v.opened()
	cancel, err := v.r.f.abi.o.Redis.RedisCall(&capability.RedisCall{Filter: v.r.f.config, Query: query, Timeout: v.r.redisTimeout}, func(reply []byte, err error) {
		v.happened(c, "proxy_on_redis_call_response", true, func(v *vm) error { return v.redisAnswered(c.id, reply, err) })
	})
	if err != nil {
		v.forget(c)
		if errors.Is(err, capability.ErrMalformed) {
			return statusBadArgument
		}
		if errors.Is(err, capability.ErrNotAllowed) {
			v.r.f.log.once("redis command", refusedRedis+": "+err.Error())
		}
		return statusInternal
	}
	c.cancel = cancel
	v.writeU32(p[4], c.id)
	return statusOK
}

// redisAnswered calls proxy_on_redis_call_response: status 0 and one reply,
// which may be an error of Redis; or BROKEN_CONNECTION and none.
func (v *vm) redisAnswered(id uint32, reply []byte, failure error) error {
	v.r.status.code, v.r.status.message = statusOK, ""
	if failure != nil {
		v.r.status.code, v.r.status.message = statusBroken, failure.Error()
		return v.callRoot(v.fn.redis, uint64(id), statusBroken, 0)
	}
	v.arrived.redis = reply
	return v.callRoot(v.fn.redis, uint64(id), 0, uint64(len(reply)))
}
