import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { test } from 'node:test'
import { startLocalEndpoint } from 'custom-authorizer-local'
import certificates from '../dist/front-door/certificates.js'
import { connectPacket, connectRaw, grant, lastOfType, openRaw, start } from './support.mjs'

const answerJson = (response, body, headers = {}, status = 200) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify(body))
}

/** A Lambda Invoke API that answers by `respond(response, event, request)`; returns its address. */
async function startLambda(t, respond, server = createServer()) {
  server.on('request', async (request, response) => {
    const chunks = await request.toArray()
    respond(response, JSON.parse(Buffer.concat(chunks).toString()), request)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${server.address().port}`
}

const startWithLambda = (t, endpoint, options = {}) =>
  start(t, {
    authorizers: { Remote: { lambda: { endpoint, functionName: 'MyAuthorizer' }, signingDisabled: true } },
    defaultAuthorizer: 'Remote',
    ...options,
  })
const fails = (endpoint, rule, message) =>
  assert.rejects(endpoint.testInvokeAuthorizer({ mqttContext: {} }), { rule, message })

/** The function at this address answers so, and the call fails by `rule`. */
async function failsWith(t, respond, rule, message) {
  const endpoint = await startWithLambda(t, `http://${await startLambda(t, respond)}`)
  await fails(endpoint, rule, message)
  return endpoint
}

test('the function is posted the event and its answer counts', async (t) => {
  let seen
  const address = await startLambda(t, (response, event, { method, url, headers }) => {
    seen = { event, method, url, type: headers['content-type'] }
    answerJson(response, grant())
  })
  const endpoint = await startWithLambda(t, `http://${address}/`)
  await connectRaw(t, endpoint, { clientId: 'remote', username: 'u' })
  const { event } = endpoint.invocations[0]
  assert.deepEqual(seen, {
    event,
    method: 'POST',
    url: '/2015-03-31/functions/MyAuthorizer/invocations',
    type: 'application/json',
  })
  assert.equal(lastOfType(endpoint, 'connected').principalId, 'tester')
})

test('https is spoken to an endpoint that has it', async (t) => {
  const { cert, key } = certificates.createServerCredentials(['127.0.0.1'])
  const address = await startLambda(
    t,
    (response) => answerJson(response, grant()),
    createHttpsServer({ cert, key }),
  )
  const endpoint = await startWithLambda(t, `https://${address}`)
  // Its certificate is nobody's; that it is looked at shows that TLS is spoken.
  await fails(endpoint, 'lambda-unreachable', /certificate/)
})

test('an error of a Python function comes with its stack trace', async (t) => {
  const stackTrace = ['  File "/var/task/app.py", line 3, in handler\n', '    raise KeyError("user")\n']
  const body = { errorMessage: "'user'", errorType: 'KeyError', stackTrace }
  const endpoint = await failsWith(
    t,
    (response) => answerJson(response, body, { 'X-Amz-Function-Error': 'Unhandled' }),
    'handler-error',
    /the handler failed: 'user'/,
  )
  const { stack } = lastOfType(endpoint, 'authorizer-answered')
  assert.equal(
    stack,
    `KeyError: 'user'\n  File "/var/task/app.py", line 3, in handler\n    raise KeyError("user")`,
  )
  assert.equal(endpoint.invocations[0].error.name, 'KeyError')
})

test('an error of a Node.js function is recognized without the header', async (t) => {
  const trace = ['TypeError: no database', '    at handler (/var/task/index.mjs:2:9)']
  const endpoint = await failsWith(
    t,
    (response) => answerJson(response, { errorType: 'TypeError', errorMessage: 'no database', trace }),
    'handler-error',
    /the handler failed: no database/,
  )
  assert.equal(lastOfType(endpoint, 'authorizer-answered').stack, trace.join('\n'))
})

test('an error that is no object is told as it is', async (t) => {
  await failsWith(
    t,
    (response) => response.writeHead(200, { 'X-Amz-Function-Error': 'Unhandled' }).end('out of memory'),
    'handler-error',
    /the handler failed: out of memory/,
  )
})

test('an error holds no secret of the event', async (t) => {
  const address = await startLambda(t, (response, { protocolData: { mqtt } }) => {
    const password = Buffer.from(mqtt.password, 'base64').toString()
    const stackTrace = [`  look_up("${password}")`]
    const body = { errorMessage: `no user ${password}`, errorType: 'LookupError', stackTrace }
    answerJson(response, body, { 'X-Amz-Function-Error': 'Unhandled' })
  })
  const endpoint = await startWithLambda(t, `http://${address}`)
  const client = await openRaw(t, endpoint)
  await client.ask(connectPacket(5, { username: 'u', password: 'pa55word' }))
  assert.match(lastOfType(endpoint, 'authorizer-answered').stack, /look_up\("\*\*\*"\)/)
  assert.doesNotMatch(JSON.stringify(endpoint.events), /pa55word/)
})

test('a function that is not there is named', async (t) => {
  const body = { Type: 'User', Message: 'Function not found' }
  await failsWith(
    t,
    (response) => answerJson(response, body, {}, 404),
    'lambda-status',
    /answered HTTP 404: .*Function not found.*is there a function "MyAuthorizer" at http/,
  )
})

test('an answer that is not JSON is shown', async (t) => {
  await failsWith(t, (response) => response.end('<html>'), 'answer-not-json', /is not JSON: <html>$/)
  await failsWith(t, (response) => response.end(), 'answer-not-json', /is not JSON: nothing$/)
})

test('an answer of more than 6 MB is not read to its end', async (t) => {
  const respond = (response) => {
    const more = () => {
      while (response.write(Buffer.alloc(64 * 1024, ' ')));
    }
    response.on('drain', more)
    more()
  }
  await failsWith(t, respond, 'answer-too-large', /6 MB/)
})

test('an answer that breaks off is told', async (t) => {
  const respond = (response) => {
    response.writeHead(200, { 'content-length': 100 })
    response.write('{', () => response.destroy())
  }
  await failsWith(t, respond, 'lambda-unreachable', /cannot be reached: aborted/)
})

test('an endpoint where nothing listens is named, with how to start it', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  const endpoint = await startWithLambda(t, `http://127.0.0.1:${port}`)
  await fails(
    endpoint,
    'lambda-unreachable',
    new RegExp(
      `127\\.0\\.0\\.1:${port} cannot be reached: .*ECONNREFUSED.*sam local start-lambda --port ${port}`,
    ),
  )
})

test('a function that does not answer is given up and its request ended', async (t) => {
  let onClose
  const ended = new Promise((resolve) => (onClose = resolve))
  const address = await startLambda(t, (response) => response.on('close', onClose))
  const endpoint = await startWithLambda(t, `http://${address}`, { limits: { handlerTimeoutMs: 50 } })
  await fails(endpoint, 'handler-timeout', /did not answer within 0\.05 s/)
  await ended
})

test('lambda options that cannot be meant are refused at the start', async () => {
  const refuses = (lambda, message) =>
    assert.rejects(startLocalEndpoint({ authorizers: { A: { lambda, signingDisabled: true } } }), {
      name: 'TypeError',
      message,
    })
  await refuses({}, /^authorizers\["A"\]: lambda\.endpoint must be a URL/)
  await refuses({ endpoint: '127.0.0.1:3001', functionName: 'A' }, /lambda\.endpoint must be a URL/)
  await refuses({ endpoint: 'ftp://127.0.0.1', functionName: 'A' }, /lambda\.endpoint must be a URL/)
  await refuses({ endpoint: 'http://me:secret@127.0.0.1', functionName: 'A' }, /must not hold a user name/)
  await refuses({ endpoint: 'http://127.0.0.1:3001' }, /lambda\.functionName must be the name/)
  await refuses({ endpoint: 'http://127.0.0.1:3001', functionName: 'a/b' }, /lambda\.functionName/)
})
