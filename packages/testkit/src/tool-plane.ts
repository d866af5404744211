import { randomBytes } from 'node:crypto'
import { freePort } from './free-port.ts'
import { GatewayProcess } from './gateway-process.ts'
import { RoundRobin } from './round-robin.ts'

/**
 * Two tool gateways behind two gateways behind a round-robin, as separate processes. Register tools
 * at the first gateway.
 */
export class ToolPlane implements AsyncDisposable {
  readonly gateways: readonly GatewayProcess[]
  readonly toolGateways: readonly GatewayProcess[]
  readonly #front: RoundRobin

  private constructor(
    gateways: readonly GatewayProcess[],
    toolGateways: readonly GatewayProcess[],
    front: RoundRobin,
  ) {
    this.gateways = gateways
    this.toolGateways = toolGateways
    this.#front = front
  }

  static async start(): Promise<ToolPlane> {
    const sessions = { keys: [randomBytes(32).toString('base64')] }
    const ports = [await freePort(), await freePort(), await freePort(), await freePort()]
    const [first, , one, two] = ports.map((port) => `http://127.0.0.1:${port}`)

    const start = (port: number | undefined, config: object): Promise<GatewayProcess> =>
      GatewayProcess.start({
        config: { sessions, ...config },
        environment: { MCPGW_PORT: String(port) },
      })

    const gateway = { tools: { gateways: { one, two } } }
    const gateways = [await start(ports[0], gateway), await start(ports[1], gateway)]

    const toolGateway = (name: string): object => ({
      role: 'tool-gateway',
      cluster: { name },
      tools: { followed: [first], endpointNetworks: ['127.0.0.0/8'] },
    })

    const toolGateways = [
      await start(ports[2], toolGateway('one')),
      await start(ports[3], toolGateway('two')),
    ]

    return new ToolPlane(gateways, toolGateways, await RoundRobin.start(ports.slice(0, 2)))
  }

  get origin(): string {
    return this.#front.origin
  }

  /** Sends a request to the REST API of the first gateway. */
  api(...request: Parameters<GatewayProcess['api']>): ReturnType<GatewayProcess['api']> {
    return (this.gateways[0] as GatewayProcess).api(...request)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#front[Symbol.asyncDispose]()
    for (const each of [...this.toolGateways, ...this.gateways]) await each[Symbol.asyncDispose]()
  }
}
