// What is measured. A measure's value is smaller-is-better, unless `more` says otherwise.

/** What every kind gives; the first is the one that counts. */
export const MEASURES = {
  connect: [
    { key: 'p50', name: 'median', unit: 'ms' },
    { key: 'cpu', name: 'CPU each', unit: 'ms' },
  ],
  publish: [
    { key: 'cpu', name: 'CPU each', unit: 'µs' },
    { key: 'rate', name: 'messages a second', unit: '', more: true },
  ],
  receive: [
    { key: 'cpu', name: 'CPU each', unit: 'µs' },
    { key: 'rate', name: 'messages a second', unit: '', more: true },
  ],
  idle: [
    { key: 'memory', name: 'memory each', unit: 'kB' },
    { key: 'rate', name: 'connects a second', unit: '', more: true },
  ],
  many: [
    { key: 'cpu', name: 'CPU each', unit: 'µs' },
    { key: 'rate', name: 'messages a second', unit: '', more: true },
  ],
  slow: [
    { key: 'cpu', name: 'CPU each', unit: 'µs' },
    { key: 'rate', name: 'messages a second', unit: '', more: true },
  ],
  paced: [{ key: 'cpu', name: 'CPU each', unit: 'µs' }],
  import: [{ key: 'wall', name: 'time', unit: 'ms' }],
  cli: [
    { key: 'wall', name: 'wall time', unit: 'ms' },
    { key: 'alone', name: 'Node alone in between (`node -e 0`)', unit: 'ms' },
    { key: 'peak', name: 'peak memory', unit: 'MB' },
  ],
  size: [
    { key: 'size', name: 'installed', unit: 'MB' },
    { key: 'packages', name: 'packages', unit: '' },
  ],
}

/** What is measured over WebSocket as well. */
const OVER_WEBSOCKET = new Set([
  'publish/0/64/1000',
  'publish/1/64/100',
  'publish/1/1024/100',
  'receive/0/64/handler',
  'receive/1/64/handler',
  'receive/1/1024/handler',
])

/** All workloads; `scale` makes the counts smaller. */
export function workloads(scale) {
  const times = (count) => Math.max(10, Math.round(count * scale))
  const list = [
    {
      id: 'connect/fresh',
      title: 'connect, fresh TLS, one after the other',
      kind: 'connect',
      parameters: { count: times(300) },
    },
    {
      id: 'connect/resumed',
      title: 'connect, beside an open connection, to a server that resumes TLS sessions',
      kind: 'connect',
      resuming: true,
      sinkOnly: true,
      parameters: { count: times(300), hold: true },
    },
  ]
  for (const qos of [0, 1]) {
    for (const size of [64, 1024]) {
      for (const window of [1, 100, 1_000]) {
        list.push({
          id: `publish/${qos}/${size}/${window}`,
          title: `publish, QoS ${qos}, ${bytes(size)}, ${window.toLocaleString('en')} at a time`,
          kind: 'publish',
          parameters: {
            qos,
            size,
            window,
            count: times(window === 1 ? 10_000 : size === 64 ? 500_000 : 200_000),
          },
        })
      }
    }
  }
  for (const qos of [0, 1]) {
    for (const size of [64, 1024]) {
      const count = times(size === 64 ? 1_000_000 : 300_000)
      const id = `receive/${qos}/${size}`
      const title = `receive, QoS ${qos}, ${bytes(size)}`
      const parameters = { qos, size, count }
      list.push(
        { id: `${id}/handler`, title: `${title}, handler`, kind: 'receive', parameters },
        {
          id: `${id}/iterator`,
          title: `${title}, iterator`,
          kind: 'receive',
          parameters: { ...parameters, iterator: true },
          // Only we have one: it is compared with the others' handlers.
          oursOnly: true,
          comparedWith: `${id}/handler`,
        },
      )
    }
  }
  // Ours alone, beside ours over TLS without WebSocket.
  for (const direct of list.filter(({ id }) => OVER_WEBSOCKET.has(id))) {
    list.push({
      ...direct,
      id: `websocket/${direct.id}`,
      title: `over WebSocket, to the same without: ${direct.title}`,
      websocket: true,
      sinkOnly: true,
      oursOnly: true,
      besideOurs: true,
      comparedWith: direct.id,
    })
  }
  for (const count of [1_000, 10_000]) {
    list.push({
      id: `idle/${count}`,
      title: `${count.toLocaleString('en')} idle connections, opened 50 at a time`,
      kind: 'idle',
      parameters: { count: times(count), atATime: 50 },
    })
  }
  const seconds = scale < 1 ? 1 : 10
  list.push({
    id: 'paced/1000',
    title: '1,000 connections that publish once a second each, QoS 1, 64 B',
    kind: 'paced',
    parameters: { qos: 1, size: 64, connections: 1_000, count: 1_000 * seconds, seconds, atATime: 50 },
  })
  // Does a message cost the same whatever else is open? One at a time on each of a hundred connections.
  for (const connections of [100, 1_000, 10_000]) {
    list.push({
      id: `many/${connections}`,
      title: `publish, QoS 1, 64 B, 100 at a time, over ${connections.toLocaleString('en')} connections in turn, to the same over 100`,
      kind: 'many',
      parameters: { qos: 1, size: 64, connections, count: times(200_000), window: 100, atATime: 50 },
      oursOnly: true,
      besideOurs: true,
      comparedWith: 'many/100',
    })
  }
  // Does a consumer that is stuck slow the others of its process?
  for (const qos of [0, 1]) {
    for (const stuck of [0, 1, 10]) {
      list.push({
        id: `slow/${qos}/${stuck || 'none'}`,
        title: `receive, QoS ${qos}, 64 B, handler, over 10 connections${stuck > 0 ? `, beside ${stuck} whose handler is stuck, to the same without` : ''}`,
        kind: 'slow',
        parameters: { qos, size: 64, connections: 10, stuck, count: times(1_000_000) },
        sinkOnly: true,
        oursOnly: true,
        besideOurs: true,
        comparedWith: `slow/${qos}/none`,
      })
    }
  }
  list.push(
    { id: 'import', title: 'import', kind: 'import', parameters: { count: times(20) } },
    {
      id: 'cli',
      title: "the whole CLI against the AWS sample's work",
      kind: 'cli',
      parameters: { count: times(10) },
    },
    { id: 'size', title: 'installed', kind: 'size', parameters: {} },
  )
  return list
}

function bytes(size) {
  return size < 1024 ? `${size} B` : `${size / 1024} KiB`
}
