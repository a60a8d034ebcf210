// Fastify with its own plugins for the proxy (on undici's pool), tokens, limits and headers.

import fastifyHelmet from '@fastify/helmet'
import fastifyHttpProxy from '@fastify/http-proxy'
import fastifyJwt from '@fastify/jwt'
import fastifyRateLimit from '@fastify/rate-limit'
import Fastify from 'fastify'
import * as settings from './settings.js'

const app = Fastify({ logger: false, exposeHeadRoutes: false })
settings.patient(app.server)

// undici looks through the connections of a pool for a free one: fewer than there are clients serve them faster.
const proxy = {
  upstream: settings.upstream,
  disableRequestLogging: true,
  retryMethods: [],
  undici: {
    connections: 256,
    pipelining: 1,
    keepAliveTimeout: 3_600_000,
    keepAliveMaxTimeout: 3_600_000,
    headersTimeout: 60_000,
    bodyTimeout: 60_000
  }
}

const limit = (options) => ({
  addHeaders: {
    'x-ratelimit-limit': false,
    'x-ratelimit-remaining': false,
    'x-ratelimit-reset': false,
    'retry-after': false
  },
  addHeadersOnExceeding: { 'x-ratelimit-limit': false, 'x-ratelimit-remaining': false, 'x-ratelimit-reset': false },
  // As many as the most users the bench knows; the default forgets all but 5,000.
  cache: 1_100_000,
  errorResponseBuilder: () => tooMany,
  ...options
})

// Thrown for each refusal, so it is made once and carries no stack.
const tooMany = Object.freeze({ statusCode: 429 })

app.setErrorHandler((error, _request, reply) => {
  if (error === tooMany) {
    return reply.code(429).header('retry-after', '900').type('application/problem+json').send(settings.floodBody)
  }
  return reply.code(error.statusCode ?? 500).send({ error: error.message })
})

if (settings.setup === 'defended') {
  await app.register(fastifyHelmet, settings.helmetOptions)
  app.addHook('onRequest', (_request, reply, next) => {
    for (const [name, value] of settings.besideHelmet) reply.raw.setHeader(name, value)
    next()
  })
  await app.register(fastifyJwt, {
    secret: { public: settings.publicKeyPem },
    verify: {
      algorithms: ['RS256'],
      allowedIss: settings.issuer,
      allowedAud: settings.audience,
      requiredClaims: ['exp', 'iss', 'aud', 'sub'],
      // Verified tokens are remembered, by their hash.
      cache: 200_000
    }
  })

  await app.register(async (guarded) => {
    guarded.addHook('onRequest', async (request, reply) => {
      try {
        await request.jwtVerify()
      } catch (error) {
        // The plugin knows no status for a token of another algorithm, which would be 500.
        return reply.code(401).send({ error: error.message })
      }
      if (request.user.role !== settings.role) return reply.code(403).send({ error: 'Forbidden' })
    })
    await guarded.register(
      fastifyRateLimit,
      limit({
        hook: 'preHandler',
        max: settings.quota,
        timeWindow: 60_000,
        keyGenerator: (request) => request.user.sub
      })
    )
    await guarded.register(fastifyHttpProxy, {
      ...proxy,
      prefix: '/api',
      rewritePrefix: '/api',
      replyOptions: {
        rewriteRequestHeaders: (request, headers) => {
          headers['x-user-id'] = request.user.sub
          headers['x-user-role'] = request.user.role
          return headers
        }
      }
    })
  })
}

if (settings.setup === 'flood') {
  await app.register(async (login) => {
    await login.register(fastifyRateLimit, limit({ max: 5, timeWindow: 900_000 }))
    await login.register(fastifyHttpProxy, {
      ...proxy,
      prefix: '/auth/login',
      rewritePrefix: '/auth/login',
      httpMethods: ['POST'],
      routes: ['/']
    })
  })
}

await app.register(fastifyHttpProxy, {
  ...proxy,
  replyOptions: {
    rewriteRequestHeaders: (_request, headers) => {
      if (settings.setup === 'defended') {
        // Where no token is asked for, nobody may claim to be somebody.
        delete headers['x-user-id']
        delete headers['x-user-role']
      }
      return headers
    }
  }
})

await app.listen({ host: settings.host, port: settings.port, backlog: 4096 })
