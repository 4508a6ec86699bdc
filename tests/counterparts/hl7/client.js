// A HIS of other people's making: node-hl7-client builds messages and sends them over MLLP.
//
// usage: node client.js PORT
// stdin, one message a line: {"type": ["ORM", "O01"], "id": "X1", "segments": [["PID", {"3.1": "P1"}], ...]}
// stdout: {"connected": port}, then one line for each answer: {"code", "of", "error", "raw"}.
'use strict'
const { Client, HL7_2_5_1 } = require('node-hl7-client')
const readline = require('readline')

const port = Number(process.argv[2])
const say = (object) => process.stdout.write(JSON.stringify(object) + '\n')
const text = (message, path) => {
  try {
    return message.get(path).toString()
  } catch {
    return ''
  }
}

const client = new Client({ host: '127.0.0.1', version: '2.5.1' })
const connection = client.createConnection({ port, waitAck: true, encoding: 'utf8' }, async (response) => {
  const message = response.getMessage()
  say({ code: text(message, 'MSA.1'), of: text(message, 'MSA.2'), error: text(message, 'ERR.3.1'), raw: message.toString() })
})
connection.on('connect', () => say({ connected: port }))
connection.on('client.error', (error) => say({ error: String(error) }))

function built (wanted) {
  const builder = new HL7_2_5_1()
  builder.buildMSH({
    msh_3: 'HIS',
    msh_4: 'WARD',
    msh_5: 'TRIAGE',
    msh_9_1: wanted.type[0],
    msh_9_2: wanted.type[1],
    msh_9_3: `${wanted.type[0]}_${wanted.type[1]}`,
    msh_10: wanted.id,
    msh_11_1: 'P'
  })
  const message = builder.toMessage()
  message.set('MSH.18', 'UNICODE UTF-8')
  for (const [name, fields] of wanted.segments) {
    const segment = message.addSegment(name)
    for (const [path, value] of Object.entries(fields)) segment.set(path, value)
  }
  return message
}

readline.createInterface({ input: process.stdin })
  .on('line', (line) => connection.sendMessage(built(JSON.parse(line))).catch((error) => say({ error: String(error) })))
  .on('close', () => connection.close().finally(() => process.exit(0)))
