import { Duplex } from 'node:stream'
import { WebSocket } from 'ws'
import { StreamEnd } from './stream-end'

const UNSUPPORTED_DATA = 1003
/** The code that `ws` gives where no Close frame came. */
const ABNORMAL = 1006

/** The bytes in the binary frames of a WebSocket; where one frame ends means nothing. */
export class WebSocketStream extends Duplex {
  readonly #webSocket: WebSocket
  readonly #socket: Duplex

  /** `socket` is what the WebSocket sits on. */
  constructor(webSocket: WebSocket, socket: Duplex) {
    super()
    this.#webSocket = webSocket
    this.#socket = socket
    webSocket.on('message', (data, isBinary) => this.#onMessage(data as Buffer, isBinary))
    webSocket.once('error', (error: NodeJS.ErrnoException) => {
      // `ws` answers a violation of its protocol with a Close frame by itself.
      const violation = error.code?.startsWith('WS_ERR_')
      this.destroy(violation ? new StreamEnd('CLIENT_ERROR', `WebSocket: ${error.message}`) : error)
    })
    webSocket.once('close', (code) => {
      if (code === ABNORMAL) this.destroy()
      else {
        const message = `the client sent a WebSocket Close frame (${code})`
        this.destroy(new StreamEnd('CLIENT_INITIATED_DISCONNECT', message))
      }
    })
  }

  override _read(): void {
    if (this.#webSocket.isPaused) this.#webSocket.resume()
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    // What comes after a Close frame has nobody to go to.
    if (this.#webSocket.readyState !== WebSocket.OPEN) callback()
    else this.#webSocket.send(chunk, callback)
  }

  override _final(callback: () => void): void {
    this.#webSocket.close()
    // Not every client answers a Close frame (the AWS SDK's does not), so the end is not made to wait for that.
    this.#socket.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    // Before a StreamEnd a Close frame was sent, which should arrive.
    if (error instanceof StreamEnd) this.#socket.end()
    else this.#webSocket.terminate()
    callback(error)
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (this.destroyed) return
    if (!isBinary) {
      this.#webSocket.close(UNSUPPORTED_DATA)
      const message = 'the client sent a WebSocket text frame; MQTT goes in binary frames'
      this.destroy(new StreamEnd('CLIENT_ERROR', message))
    } else if (!this.push(data)) {
      this.#webSocket.pause()
    }
  }
}
