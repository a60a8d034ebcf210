// Express with the packages that most of its users take: http-proxy-middleware, jsonwebtoken, express-rate-limit, helmet.

import http from 'node:http'
import express from 'express'
import { rateLimit } from 'express-rate-limit'
import helmet from 'helmet'
import { createProxyMiddleware } from 'http-proxy-middleware'
import jwt from 'jsonwebtoken'
import * as settings from './settings.js'

// Imported only where it is asked for: the other setups shall not carry a client that they do not use.
const redis = process.env.BENCH_REDIS_SOCKET
  ? await (await import('./redis.js')).start(process.env.BENCH_REDIS_SOCKET)
  : null

const limited = (name, options) =>
  rateLimit({
    standardHeaders: false,
    legacyHeaders: false,
    validate: false,
    ...(redis ? { store: redis.store(name) } : {}),
    handler: (_request, response) => {
      response.writeHead(429, {
        'Content-Type': 'application/problem+json',
        'Content-Length': Buffer.byteLength(settings.floodBody),
        'Retry-After': '900'
      })
      response.end(settings.floodBody)
    },
    ...options
  })

const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.set('query parser', false)

if (settings.setup === 'defended') {
  const key = settings.publicKey()
  const options = { algorithms: ['RS256'], issuer: settings.issuer, audience: settings.audience }

  app.use(helmet(settings.helmetOptions))
  app.use((request, response, next) => {
    for (const [name, value] of settings.besideHelmet) response.setHeader(name, value)
    delete request.headers['x-user-id']
    delete request.headers['x-user-role']
    next()
  })

  const guard = (request, response, next) => {
    const header = request.headers.authorization
    if (header === undefined || !header.startsWith('Bearer ')) return response.status(401).json({ error: 'No token' })
    let claims
    try {
      claims = jwt.verify(header.slice(7), key, options)
    } catch {
      return response.status(401).json({ error: 'Invalid token' })
    }
    // The library takes a token that never expires, and one without a subject.
    if (typeof claims.exp !== 'number' || typeof claims.sub !== 'string') {
      return response.status(401).json({ error: 'Invalid token' })
    }
    if (claims.role !== settings.role) return response.status(403).json({ error: 'Forbidden' })
    request.user = claims
    request.headers['x-user-id'] = claims.sub
    request.headers['x-user-role'] = claims.role
    next()
  }
  const perUser = limited('user:', {
    windowMs: 60_000,
    limit: settings.quota,
    keyGenerator: (request) => request.user.sub
  })
  app.use('/api', guard, perUser)
}

if (settings.setup === 'flood') {
  app.post('/auth/login', limited('login:', { windowMs: 900_000, limit: 5 }))
}

// Two thousand clients are served faster over fewer connections than over as many, where node is what is busy.
app.use(
  createProxyMiddleware({
    target: settings.upstream,
    changeOrigin: false,
    xfwd: false,
    proxyTimeout: 60_000,
    agent: new http.Agent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 256, noDelay: true })
  })
)

const server = http.createServer(app)
settings.patient(server)
server.listen({ host: settings.host, port: settings.port, backlog: 4096 })
