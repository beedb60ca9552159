// Writes smart_wallet.json: a sign-in message signed by viem's Coinbase smart account, before and after it is deployed.
// In an empty folder: npm install viem@2.47.0; copy this file and wallets.json there; start an anvil of chain 84532;
// node make_smart_wallet.mjs http://127.0.0.1:<port> > …/tests/accounts/vectors/smart_wallet.json
import { readFileSync } from 'node:fs'
import { createTestClient, http, publicActions, walletActions } from 'viem'
import { toCoinbaseSmartAccount } from 'viem/account-abstraction'
import { privateKeyToAccount } from 'viem/accounts'
import { baseSepolia } from 'viem/chains'
import { createSiweMessage } from 'viem/siwe'

const codes = JSON.parse(readFileSync('wallets.json'))
const chain = createTestClient({ mode: 'anvil', chain: baseSepolia, transport: http(process.argv[2]) })
  .extend(publicActions)
  .extend(walletActions)
const [payer] = await chain.getAddresses()
const send = async (transaction) =>
  chain.waitForTransactionReceipt({ hash: await chain.sendTransaction({ account: payer, ...transaction }) })

// viem asks the factory at Coinbase's own address; ours has its interface.
const { contractAddress } = await send({ data: codes.SmartWalletFactory })
const factory = '0x0ba5ed0c6aa8c49038f819e587e2633c4a9f428a'
await chain.setCode({ address: factory, bytecode: await chain.getCode({ address: contractAddress }) })

const owner = privateKeyToAccount(`0x${'5e'.repeat(32)}`)
const account = await toCoinbaseSmartAccount({ client: chain, owners: [owner], version: '1' })
const message = createSiweMessage({
  domain: 'tickets.example',
  address: account.address,
  uri: 'https://tickets.example',
  version: '1',
  chainId: 84532,
  nonce: 'a1b2c3d4e5f60718',
  issuedAt: new Date('2026-01-02T03:04:05.000Z'),
})
const undeployed = await account.signMessage({ message })
const creation = await account.getFactoryArgs()
await send({ to: creation.factory, data: creation.factoryData })
const again = await toCoinbaseSmartAccount({ client: chain, owners: [owner], version: '1' })
const deployed = await again.signMessage({ message })
console.log(JSON.stringify({ address: account.address, message, undeployed, deployed, creation, rawOwner: await owner.signMessage({ message }) }, null, 1))
