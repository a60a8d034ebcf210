// Fastify that judges the body of POST /orders by its own JSON Schema validation, which compiles the schema, before
// @fastify/reply-from forwards it. POST /plain is forwarded as it comes.

import { readFileSync } from 'node:fs'
import replyFrom from '@fastify/reply-from'
import Fastify from 'fastify'
import * as settings from './settings.js'

// Its compiler reads draft 07, in which every keyword of this schema means the same.
const { $schema: _, ...schema } = JSON.parse(readFileSync(process.env.BENCH_SCHEMA, 'utf8'))

const app = Fastify({
  logger: false,
  exposeHeadRoutes: false,
  // By default it would take unknown members away and make numbers of strings instead of refusing.
  ajv: { customOptions: { removeAdditional: false, coerceTypes: false } }
})
settings.patient(app.server)

await app.register(replyFrom, {
  base: settings.upstream,
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
})

app.post('/orders', { schema: { body: schema } }, (_request, reply) => reply.from('/orders'))

await app.register(async (plain) => {
  const untouched = (_request, payload, done) => done(null, payload)
  plain.removeAllContentTypeParsers()
  plain.addContentTypeParser('*', untouched)
  plain.post('/plain', (_request, reply) => reply.from('/plain'))
})

await app.listen({ host: settings.host, port: settings.port, backlog: 4096 })
