// Express that judges the body of POST /orders with zod, the package that most of its users take for it, before
// http-proxy-middleware forwards it. POST /plain is forwarded as it comes.

import http from 'node:http'
import express from 'express'
import { createProxyMiddleware, fixRequestBody } from 'http-proxy-middleware'
import * as z from 'zod'
import * as settings from './settings.js'

const order = z.strictObject({
  items: z
    .array(z.strictObject({ productId: z.uuid(), quantity: z.int().min(1).max(100) }))
    .min(1)
    .max(50),
  address: z.strictObject({
    line1: z.string().min(5).max(200),
    city: z.string().min(2).max(100),
    postcode: z.string().regex(/^[A-Z0-9 -]{3,10}$/),
    country: z.enum(['IN', 'US', 'GB', 'AU'])
  }),
  promoCode: z
    .string()
    .regex(/^[A-Z]{4}[0-9]{2}$/)
    .optional()
})

const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.set('query parser', false)

app.post('/orders', express.json({ limit: '10kb' }), (request, response, next) => {
  const judged = order.safeParse(request.body)
  if (judged.success) return next()
  const details = judged.error.issues.map(({ path, code }) => ({ path: path.join('/'), rule: code }))
  response.status(400).json({ error: 'Validation failed', details })
})

app.use(
  createProxyMiddleware({
    target: settings.upstream,
    changeOrigin: false,
    xfwd: false,
    proxyTimeout: 60_000,
    // What the parser has read is written anew, as the package's own documentation has it.
    on: { proxyReq: fixRequestBody },
    agent: new http.Agent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 256, noDelay: true })
  })
)

const server = http.createServer(app)
settings.patient(server)
server.listen({ host: settings.host, port: settings.port, backlog: 4096 })
