import type { KeptListsOptions } from './lists/kept-lists.ts'
import type { VirtualServersOptions } from './virtual-servers.ts'

/** For a process without virtual servers. */
export const noServers: VirtualServersOptions['servers'] = {
  list: async () => [],
  watch: (signal) => ({
    [Symbol.asyncIterator]: () => ({
      next: () =>
        new Promise((resolve) => {
          const end = (): void => resolve({ done: true, value: undefined })
          if (signal.aborted) end()
          else signal.addEventListener('abort', end, { once: true })
        }),
    }),
  }),
}

/** For a process without members that list anything. */
export const noLists: KeptListsOptions['store'] = {
  get: async () => undefined,
  create: async () => undefined,
  replace: async () => undefined,
  delete: async () => undefined,
}
