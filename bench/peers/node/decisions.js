// What a decision costs the packages themselves, without a server around them: so many under way at once, for so long.
//
// node decisions.js <contender> <keys> <at once> <milliseconds> [<port of Redis>] prints one line of JSON, as
// crates/portcullis-limit/benches/shared.rs does.

import { rateLimit } from 'express-rate-limit'
import { Redis } from 'ioredis'
import { RedisStore } from 'rate-limit-redis'
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible'

const [contender, keys, atOnce, millis, port] = process.argv.slice(2)
// Counted, never reached.
const quota = { count: 100_000_000, seconds: 60 }

// What one turn of the event loop asks for goes out in one write.
const client = port ? new Redis({ port: Number(port), enableAutoPipelining: true }) : null

const flexible = (limiter) => (key) => limiter.consume(key)

// The middleware as Express would call it; a request that it does not let through fails the run.
const middleware = (options) => {
  const limit = rateLimit({
    windowMs: quota.seconds * 1000,
    limit: quota.count,
    standardHeaders: false,
    legacyHeaders: false,
    validate: false,
    keyGenerator: (request) => request.user,
    handler: () => fail('refused'),
    ...options
  })
  return (key) => limit({ user: key }, {}, (error) => error && fail(error))
}

const fail = (why) => {
  console.error(why)
  process.exit(1)
}

const contenders = {
  'flexible-memory': () => flexible(new RateLimiterMemory({ points: quota.count, duration: quota.seconds })),
  'flexible-redis': () =>
    flexible(new RateLimiterRedis({ storeClient: client, points: quota.count, duration: quota.seconds })),
  'express-memory': () => middleware({}),
  'express-redis': () =>
    middleware({ store: new RedisStore({ sendCommand: (...command) => client.call(...command) }) })
}

const decide = contenders[contender]()

// Users in a random order that is the same for every run (xorshift).
const names = Array.from({ length: Number(keys) }, (_, number) => {
  const text = number.toString(16).padStart(8, '0')
  return `${text}-0b0e-7a7a-8d8d-${text.padStart(12, '0')}`
})
let state = 88172645
const order = Array.from({ length: 100_000 }, () => {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return names[(state >>> 0) % names.length]
})

let decisions = 0
const run = async (length) => {
  const end = performance.now() + length
  let over = false
  const one = async () => {
    while (!over) {
      await decide(order[decisions++ % order.length])
      // What is decided in memory never waits, so a timer would never run.
      if (decisions % 64 === 0) over = performance.now() > end
    }
  }
  await Promise.all(Array.from({ length: Number(atOnce) }, one))
}

await run(1_000)
const warm = decisions
const before = process.cpuUsage()
await run(Number(millis))
const used = process.cpuUsage(before)
console.log(JSON.stringify({ decisions: decisions - warm, cpu_micros: used.user + used.system, total: decisions }))
process.exit(0)
