// A RIS of other people's making: node-hl7-server takes messages over MLLP and keeps the priority of each order.
//
// usage: node server.js PORT [latin1]
// stdin, one verb a line: `reply AA|AE|AR [code]`, `late` (the next answer comes after the one to the message after it),
// `wrong id`, `garbage`, `silent`, `lose` (the connection ends instead of an answer, once), `honest` (as at first).
// stdout, one JSON object a line: {"listening": port}, {"ok": verb}, and for each message its fields as the library reads them.
'use strict'
const { Server } = require('node-hl7-server')
const readline = require('readline')

const port = Number(process.argv[2])
const known = { '1.2.1': 'waiting', '1.2.2': 'read' }
const priorities = {}
const seen = new Set()
let mode = 'honest'
let reply = ['AA', '']
let held = null

const say = (object) => process.stdout.write(JSON.stringify(object) + '\n')
const text = (message, path) => {
  try {
    const node = message.get(path)
    return node === undefined || node === null ? '' : node.toString()
  } catch {
    return ''
  }
}

function judge (type, uid) {
  if (reply[0] !== 'AA') return reply
  if (known[uid] === undefined) return ['AE', '204']
  if (known[uid] === 'read') return ['AE', '206']
  return ['AA', '']
}

function acknowledgement (message, of, [code, error]) {
  const head = ['MSH', '^~\\&', 'RIS', '', text(message, 'MSH.3'), '', '20261121120000', '', 'ACK', 'S' + Date.now(), 'P', text(message, 'MSH.12')]
  const lines = [head.join('|'), ['MSA', code, of].join('|')]
  if (error !== '') lines.push(`ERR|||${error}^^HL70357|E||||said by the server`)
  return '\x0b' + lines.join('\r') + '\r\x1c\r'
}

function studyUid (raw) {
  for (const line of raw.split('\r')) {
    const f = line.split('|')
    if (f[0] === 'IPC') return f[3]
    if (f[0] === 'OBX' && f[3].startsWith('110180^')) return f[5]
  }
  return ''
}

const server = new Server({ bindAddress: '127.0.0.1' })
const inbound = server.createInbound({ port }, async (req, res) => {
  const message = req.getMessage()
  const raw = message.toString()
  const id = text(message, 'MSH.10')
  const type = text(message, 'MSH.9.1')
  const uid = studyUid(raw)
  const decision = judge(type, uid)
  const twice = seen.has(id)
  if (decision[0] === 'AA' && !twice) {
    seen.add(id)
    if (type !== 'ORU') priorities[uid] = text(message, 'TQ1.9.1') || text(message, 'TQ1.9') || text(message, 'OBR.5')
  }
  say({ id, type, twice, uid, priorities, patient: text(message, 'PID.5'), family: text(message, 'PID.5.1'), status: text(message, 'OBR.25'), version: text(message, 'MSH.12'), raw })
  const socket = res._socket
  if (mode === 'silent') return
  if (mode === 'garbage') return socket.write('\x0bthis is no HL7\x1c\r')
  if (mode === 'wrong id') return socket.write(acknowledgement(message, 'SOMEBODYELSE', decision))
  if (mode === 'lose') {
    mode = 'honest'
    return socket.destroy()
  }
  if (mode === 'late') {
    held = acknowledgement(message, id, decision)
    mode = 'honest'
    return
  }
  if (held !== null) {
    socket.write(held)
    held = null
  }
  if (decision[0] === 'AA') await res.sendResponse('AA') // the library's own answer
  else socket.write(acknowledgement(message, id, decision))
  // node-hl7-server 2.5.0 never forgets what came on a connection: the next message on it would bring this one again
  socket.removeAllListeners('data')
  socket.end()
})
inbound.on('listen', () => say({ listening: port }))
inbound.on('error', (error) => say({ error: String(error) }))
inbound.on('data.error', (error) => say({ unreadable: String(error) }))

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [verb, ...rest] = line.trim().split(' ')
  if (verb === 'reply') reply = [rest[0], rest[1] || '']
  else mode = line.trim()
  if (line.trim() === 'honest') reply = ['AA', '']
  say({ ok: line.trim() })
}).on('close', () => process.exit(0))
