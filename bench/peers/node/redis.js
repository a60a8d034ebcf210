// A Redis of our own on a socket file: no port to collide on, nothing written to the disk, gone when we are gone.

import { spawn } from 'node:child_process'
import { Redis } from 'ioredis'
import { RedisStore } from 'rate-limit-redis'

export const start = async (socket) => {
  // The kernel ends it even when this process is killed and can clean up nothing.
  const server = spawn(
    'setpriv',
    ['--pdeathsig', 'KILL', 'redis-server', '--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'no', '--loglevel', 'warning'],
    { stdio: ['ignore', 'ignore', 'inherit'] }
  )
  server.once('exit', (code) => {
    console.error(`redis-server ended (${code})`)
    process.exit(1)
  })
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      server.removeAllListeners('exit')
      server.once('exit', () => process.exit(0))
      server.kill('SIGKILL')
    })
  }

  // What one turn of the event loop asks for goes out in one write.
  const client = new Redis({ path: socket, enableAutoPipelining: true, retryStrategy: () => 50, maxRetriesPerRequest: null })
  // The socket file appears a moment after the start; until then the client tries again.
  client.on('error', () => {})
  await client.ping()
  client.removeAllListeners('error')
  client.on('error', (error) => console.error(`redis: ${error.message}`))

  return {
    store: (prefix) => new RedisStore({ prefix, sendCommand: (...command) => client.call(...command) })
  }
}
