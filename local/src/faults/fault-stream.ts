import type { Duplex } from 'node:stream'
import type { Packet } from 'mqtt-packet'
import { createHandle, type ConnectionHandle } from './connection-handle'
import type { DisconnectReason, FaultApplied, NewEvent } from '../events'
import { describeAction, describePacket } from './fault-text'
import type { FaultDirection, FaultPlan, PacketKind } from './fault'
import { FaultLane, type Passenger } from './fault-lane'
import { PacketTopics } from './fault-topics'
import type { ActiveFault, FaultRegistry } from './faults'
import { FramingError } from '../connection/framing'
import type { Limits } from '../limits'
import { CONGESTED_BYTES, PacketStream, resetSocket, type PacketListener } from '../connection/packet-stream'
import { Throttle } from './throttle'

/** The connection ended because a test wanted it. */
export class FaultEnd extends Error {
  override readonly name = 'FaultEnd'

  constructor(
    message: string,
    readonly disconnectReason: DisconnectReason,
  ) {
    super(message)
  }
}

/** A longer one is refused anyway, and must not fill the events. */
const CLIENT_ID_LENGTH = 128
/** Any remaining length of five bytes is malformed, whatever the packet. */
const ENDLESS_LENGTH = [0xff, 0xff, 0xff, 0xff, 0x7f]

/** A PacketStream on which packets suffer the faults of the endpoint. */
export class FaultStream implements PacketListener {
  readonly #socket: Duplex
  readonly connectionId: string
  readonly #faults: FaultRegistry
  readonly #topics: PacketTopics
  readonly #listener: PacketListener
  readonly #stream: PacketStream
  readonly #lanes: Readonly<Record<FaultDirection, FaultLane>>
  readonly handle: ConnectionHandle
  readonly #lasting = new Set<ActiveFault>()
  readonly #throttles: Partial<Record<FaultDirection, Throttle>> = {}
  #clientId: string | undefined
  #redeliveryId = 65_535
  /** No more packets: `end` was called, a fault ended the connection, or it is closed. */
  #ended = false
  #socketClosed = false
  /** The Connection knows of the end. */
  #closed = false
  #holds = 0
  #handingOut = true
  #malformed = false
  #paused = false
  #frozen = false
  #streamHeld = false

  constructor(
    stream: Duplex,
    { connectionId, socket = stream }: { connectionId: string; socket?: Duplex },
    { faults, limits }: { faults: FaultRegistry; limits: Limits },
    listener: PacketListener,
  ) {
    this.#socket = socket
    this.connectionId = connectionId
    this.#faults = faults
    this.#topics = new PacketTopics(limits.topicAliases)
    this.#listener = listener
    const onLater = (): void => {
      this.#regulate()
      if (!this.#ended) listener.onDrain()
    }
    this.#lanes = { in: new FaultLane(faults.clock, onLater), out: new FaultLane(faults.clock, onLater) }
    this.#stream = new PacketStream(stream, limits, this)
    this.handle = createHandle(this)
    faults.enter(this)
  }

  // What a Connection uses

  get bufferedBytes(): number {
    return this.#stream.bufferedBytes + this.#lanes.out.bytes
  }

  get congested(): boolean {
    return this.bufferedBytes >= CONGESTED_BYTES
  }

  get protocolVersion(): 3 | 5 | undefined {
    return this.#stream.protocolVersion
  }

  setProtocolVersion(version: 3 | 5): void {
    this.#stream.setProtocolVersion(version)
  }

  /** The client id, also where the endpoint had to choose one. */
  identify(clientId: string): void {
    this.#clientId = clientId
  }

  /** Hands out no packet and reads nothing until `release`, once for each `hold`. */
  hold(): void {
    this.#holds++
    this.#moveIn()
  }

  release(): void {
    this.#holds--
    this.#moveIn()
  }

  /** Hands out no packet, but reads on as far as there is room for it, so that the end of the client is seen. */
  setHandingOut(handingOut: boolean): void {
    this.#handingOut = handingOut
    this.#moveIn()
  }

  holdOutput(): void {
    this.#stream.holdOutput()
  }

  releaseOutput(): void {
    this.#stream.releaseOutput()
  }

  send(packet: Packet, maximumPacketSize = Infinity): boolean {
    if (this.#ended) return true
    const bytes = this.#stream.encode(packet)
    if (bytes.length > maximumPacketSize) return false
    this.#pass('out', packet, this.#createPassenger('out', packet, bytes))
    // Reading on would hand out packets, which whoever sends does not expect now.
    if (this.#streamHeld) process.nextTick(() => this.#regulate())
    else this.#regulate()
    return true
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#lanes.in.clear()
    this.#lanes.out.push({
      bytes: 0,
      go: () => {
        this.#stream.end()
        this.#wakeOutput()
      },
    })
  }

  // What a ConnectionHandle and faults do

  get clientId(): string | undefined {
    return this.#clientId
  }

  /** Nothing can happen to it any more. A frozen one has its socket still. */
  get gone(): boolean {
    return this.#socketClosed || (this.#closed && !this.#frozen)
  }

  /** The endpoint closes: what is late will never come. */
  giveUp(): void {
    if (this.#socketClosed) this.#notifyClosed(undefined)
  }

  record(
    event: Omit<NewEvent<FaultApplied>, 'type' | 'connectionId' | 'clientId'>,
    fault?: ActiveFault,
  ): void {
    const clientId = this.#clientId
    this.#faults.record(
      {
        type: 'fault',
        connectionId: this.connectionId,
        ...(clientId !== undefined && { clientId }),
        ...event,
      },
      fault,
    )
  }

  disconnect(message: string, reasonCode: number, reason?: string): void {
    if (this.protocolVersion === 5) {
      const properties = reason === undefined ? {} : { reasonString: reason }
      this.#stream.send({ cmd: 'disconnect', reasonCode, properties })
    }
    this.#endByFault(message, 'SERVER_INITIATED_DISCONNECT')
  }

  reset(message: string): void {
    this.#stop()
    process.nextTick(() => this.#notifyClosed(new FaultEnd(message, 'CONNECTION_LOST')))
    resetSocket(this.#socket)
  }

  /** What was kept back is lost; else the end comes after what was sent. */
  close(message: string): void {
    const flowing = !this.#paused && !this.#frozen
    this.#endByFault(message)
    if (!flowing) this.#stream.destroy()
  }

  freeze(): void {
    this.#frozen = true
    this.#lanes.in.clear()
    this.#lanes.out.clear()
    this.#setFlow()
  }

  setPaused(paused: boolean): void {
    this.#paused = paused
    this.#setFlow()
  }

  write(bytes: Buffer): void {
    this.#stream.write(bytes)
    this.#wakeOutput()
  }

  // PacketListener

  onPacket(packet: Packet): void {
    if (this.#ended) return
    if (packet.cmd === 'connect') this.#clientId ??= packet.clientId.slice(0, CLIENT_ID_LENGTH) || undefined
    this.#pass('in', packet, this.#createPassenger('in', packet))
    this.#regulate()
  }

  onMalformed(error: FramingError): void {
    this.#malformed = true
    this.#setFlow()
    // In its turn: it may stand behind packets that are late.
    this.#lanes.in.push({ bytes: 0, go: () => this.#listener.onMalformed(error) })
  }

  onDrain(): void {
    this.#listener.onDrain()
  }

  onRead(bytes: number): void {
    const throttle = this.#throttles.in
    if (throttle === undefined) return
    throttle.rest(bytes)
    this.#stream.setReading(false)
  }

  onWrite(bytes: number): void {
    this.#listener.onWrite?.(bytes)
  }

  onClose(error: Error | undefined): void {
    this.#socketClosed = true
    this.#frozen = false
    this.#lanes.out.clear()
    for (const throttle of Object.values(this.#throttles)) throttle.stop()
    // The end is no faster than what came before it, unless that is not wanted yet.
    if (this.#lanes.in.bytes > 0 && this.#handingOut)
      this.#lanes.in.push({ bytes: 0, go: () => this.#notifyClosed(error) })
    else this.#notifyClosed(error)
  }

  // Faults

  #pass(direction: FaultDirection, packet: Packet, passenger: Passenger): void {
    const lane = this.#lanes[direction]
    const kind = packet.cmd as PacketKind
    const topics = this.#topics.of(packet)
    const clientId = this.#clientId
    const fault = this.#faults.find({ kind, direction, clientId, topics, lasting: this.#lasting })
    if (fault === undefined) return lane.push(passenger)
    const { plan } = fault
    const { action, delayMs, details } = plan
    if (action === 'halfOpen' || action === 'throttle') this.#lasting.add(fault)
    const message = `${describePacket(kind, direction)}: ${describeAction(plan)}`
    this.record({ action, message, packet: kind.toUpperCase(), direction }, fault)
    switch (action) {
      case 'drop':
        break
      case 'delay':
        lane.push(passenger, delayMs)
        break
      case 'hold':
        lane.push(passenger, 0, details.hold)
        break
      case 'duplicate':
        lane.push(passenger, delayMs)
        lane.push(this.#createPassenger(direction, this.#copy(packet, plan)))
        break
      case 'throttle':
        this.#throttle(fault)
        lane.push(passenger)
        break
      default:
        lane.push({ bytes: 0, go: () => this.#strike(plan, direction, packet, message) }, delayMs)
    }
  }

  /** What happens in place of a packet. */
  #strike(plan: FaultPlan, direction: FaultDirection, packet: Packet, message: string): void {
    const { action, details } = plan
    const { disconnect, reason, connack } = details
    // A fault at CONNECT comes before the Connection has settled it.
    if (packet.cmd === 'connect' && this.protocolVersion === undefined) {
      this.#stream.setProtocolVersion(packet.protocolVersion === 5 ? 5 : 3)
    }
    const text = `a fault: ${message}`
    switch (action) {
      case 'close':
        return this.#endByFault(text)
      case 'reset':
        return this.reset(text)
      case 'disconnect':
        return this.disconnect(text, disconnect!, reason)
      case 'connack':
        this.#stream.send({
          cmd: 'connack',
          returnCode: connack!,
          reasonCode: connack!,
          sessionPresent: false,
        })
        return this.#endByFault(text, 'SERVER_INITIATED_DISCONNECT')
      case 'halfOpen':
        return this.freeze()
      case 'corrupt':
        if (direction === 'in') {
          return this.#listener.onMalformed(new FramingError('malformed-packet', text))
        }
        return this.#stream.write(Buffer.of(this.#stream.encode(packet)[0]!, ...ENDLESS_LENGTH))
    }
  }

  #createPassenger(direction: FaultDirection, packet: Packet, encoded?: Buffer): Passenger {
    const kind = packet.cmd as PacketKind
    if (direction === 'in') {
      return { kind, bytes: packet.length ?? 0, go: () => this.#listener.onPacket(packet) }
    }
    const bytes = encoded ?? this.#stream.encode(packet)
    return { kind, bytes: bytes.length, go: () => this.write(bytes) }
  }

  #copy(packet: Packet, { details }: FaultPlan): Packet {
    const { duplicate } = details
    if (packet.cmd !== 'publish' || packet.qos === 0 || typeof duplicate !== 'object') return packet
    // Counted down from the end, where the session's own ids, counted up, do not come soon.
    const newId = duplicate.newPacketId && { messageId: this.#redeliveryId }
    this.#redeliveryId = this.#redeliveryId > 1 ? this.#redeliveryId - 1 : 65_535
    return { ...packet, dup: duplicate.dup, ...newId }
  }

  #wakeOutput(): void {
    if (!this.#paused && !this.#frozen) this.#throttles.out?.wake()
  }

  #throttle(fault: ActiveFault): void {
    const { directions, details } = fault.plan
    const { bytesPerSecond } = details.throttle!
    const lifted = (direction: FaultDirection): boolean => {
      if (!fault.removed) return false
      delete this.#throttles[direction]
      this.#setFlow()
      return true
    }
    for (const direction of directions) {
      this.#throttles[direction]?.stop()
      this.#throttles[direction] = new Throttle(this.#faults.clock, bytesPerSecond, (atMost) => {
        if (lifted(direction) || this.#paused || this.#frozen) return 0
        if (direction === 'out') return this.#stream.writeSome(atMost)
        this.#setFlow()
        return 0
      })
    }
    this.#setFlow()
  }

  #setFlow(): void {
    const flowing = !this.#paused && !this.#frozen
    this.#stream.setReading(flowing && !this.#malformed && this.#throttles.in?.resting !== true)
    this.#stream.setWriting(flowing && this.#throttles.out === undefined)
    this.#wakeOutput()
  }

  #endByFault(message: string, reason: DisconnectReason = 'CONNECTION_LOST'): void {
    this.#stop()
    // Later: the Connection may be in the middle of what it sends.
    process.nextTick(() => this.#notifyClosed(new FaultEnd(message, reason)))
    this.#stream.end()
    this.#wakeOutput()
  }

  #stop(): void {
    this.#ended = true
    this.#lanes.in.clear()
    this.#lanes.out.clear()
  }

  #notifyClosed(error: Error | undefined): void {
    if (this.#socketClosed) this.#faults.leave(this)
    if (this.#closed) return
    this.#stop()
    this.#closed = true
    this.#listener.onClose(error)
  }

  #moveIn(): void {
    if (this.#holds === 0 && this.#handingOut) this.#lanes.in.start()
    else this.#lanes.in.stop()
    this.#regulate()
  }

  /** What waits here for the clock must not grow: beyond a measure nothing more is read. */
  #regulate(): void {
    const { in: incoming, out } = this.#lanes
    const hold = this.#holds > 0 || incoming.bytes >= CONGESTED_BYTES || out.bytes >= CONGESTED_BYTES
    if (hold === this.#streamHeld) return
    this.#streamHeld = hold
    if (hold) this.#stream.hold()
    else this.#stream.release()
  }
}
