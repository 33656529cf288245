// Loaded before a program: writes its peak memory in KiB to descriptor 3 at the end.
const { readFileSync, writeSync } = require('node:fs')

process.on('exit', () => writeSync(3, String(peak())))

function peak() {
  // What getrusage tells begins with the memory of the process that spawned this one.
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS
  return Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
}
