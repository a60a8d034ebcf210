// What both stacks read from the environment. The bench starts one process for one setup.

import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'

const text = (name) => {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set`)
  return value
}

export const setup = text('BENCH_SETUP')
export const host = text('BENCH_HOST')
export const port = Number(text('BENCH_PORT'))
export const upstream = `http://${text('BENCH_UPSTREAM')}`
export const floodBody = text('BENCH_FLOOD_BODY')
export const quota = Number(text('BENCH_QUOTA'))
export const issuer = text('BENCH_ISSUER')
export const audience = text('BENCH_AUDIENCE')
export const role = text('BENCH_ROLE')
export const publicKeyPem = readFileSync(text('BENCH_PUBLIC_KEY'), 'utf8')
export const publicKey = () => createPublicKey(publicKeyPem)

// helmet sets those that it can set just so. Its policy has no blank after a semicolon, and it knows no
// Permissions-Policy: these two are set beside it.
export const besideHelmet = JSON.parse(text('BENCH_SECURITY_HEADERS')).filter(([name]) =>
  ['content-security-policy', 'permissions-policy'].includes(name.toLowerCase())
)

export const helmetOptions = {
  contentSecurityPolicy: false,
  strictTransportSecurity: { maxAge: 31536000, includeSubDomains: true },
  xFrameOptions: { action: 'deny' },
  referrerPolicy: { policy: 'strict-origin-when-cross-origin' },
  crossOriginOpenerPolicy: { policy: 'same-origin' },
  crossOriginResourcePolicy: { policy: 'same-origin' },
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xPermittedCrossDomainPolicies: false,
  xPoweredBy: false,
  xXssProtection: false
}

// Connections of clients stay open for as long as the bench keeps them.
export const patient = (server) => {
  server.keepAliveTimeout = 3_600_000
  server.headersTimeout = 0
  server.requestTimeout = 0
  server.timeout = 0
}
