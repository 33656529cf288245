/* oxlint-disable no-underscore-dangle -- Node offers no other hook for require. */
const Module = require('node:module')

const load = Module._load
Module._load = function (request, ...rest) {
  if (request.endsWith('/client.js') || request.endsWith('.node')) throw new Error('the client was loaded')
  return load.call(this, request, ...rest)
}
