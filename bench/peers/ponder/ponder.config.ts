import { readFileSync } from "node:fs";
import { createConfig, factory } from "ponder";

// What bench/ponder.py found on the chain: addresses, first block, and the ABIs as our artifacts have them.
export const chain = JSON.parse(readFileSync(process.env.BENCH_CHAIN!, "utf8"));

export default createConfig({
  database: { kind: "postgres", connectionString: process.env.BENCH_DATABASE! },
  chains: {
    anvil: {
      id: chain.id,
      // Ponder starts with 20 requests a second for each URL; the same one many times lifts that.
      rpc: Array(25).fill(process.env.BENCH_RPC!),
      ws: process.env.BENCH_WS!,
    },
  },
  contracts: {
    Factory: { abi: chain.factoryAbi, chain: "anvil", address: chain.factory, startBlock: chain.fromBlock },
    Tickets: {
      abi: chain.ticketAbi,
      chain: "anvil",
      address: factory({
        address: chain.factory,
        event: chain.factoryAbi.find((item: any) => item.type === "event" && item.name === "EventCreated"),
        parameter: "ticketContract",
      }),
      startBlock: chain.fromBlock,
    },
  },
});
