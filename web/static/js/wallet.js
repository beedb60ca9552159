// Wallets of the browser: found by EIP-6963, spoken to by EIP-1193.

const ANNOUNCE_MS = 300
const REMEMBERED = 'echain-wallet'
const DECLINED = 4001
const CHAIN_UNKNOWN = 4902
const found = new Map()

window.addEventListener('eip6963:announceProvider', ({ detail }) => {
  // Whoever announces itself says what it likes: only the shape is taken, and icons only as pictures.
  if (typeof detail?.info?.uuid !== 'string' || typeof detail.provider?.request !== 'function') return
  found.set(detail.info.uuid, detail)
})

/** The person said no in the wallet. */
export class Declined extends Error {}

/** The wallet does not know the chain; the person has to add it there. */
export class ChainUnknown extends Error {}

/** Return the wallets that answer, the one used last first. */
export async function wallets () {
  window.dispatchEvent(new Event('eip6963:requestProvider'))
  if (found.size === 0) await new Promise(resolve => setTimeout(resolve, ANNOUNCE_MS))
  const last = localStorage.getItem(REMEMBERED)
  return [...found.values()]
    .sort((one, other) => (other.info.rdns === last) - (one.info.rdns === last))
    .map(detail => new Wallet(detail))
}

/** One wallet; every method throws `Declined` when the person says no. */
export class Wallet {
  #provider

  constructor ({ info, provider }) {
    this.#provider = provider
    this.name = String(info.name)
    this.rdns = String(info.rdns)
    this.icon = /^data:image\//.test(info.icon) ? info.icon : ''
  }

  async #ask (method, params = []) {
    try {
      return await this.#provider.request({ method, params })
    } catch (error) {
      if (error?.code === DECLINED) throw new Declined(method)
      throw error
    }
  }

  /** Ask for an account and return its address; the wallet is offered first from now on. */
  async connect () {
    const [address] = await this.#ask('eth_requestAccounts')
    localStorage.setItem(REMEMBERED, this.rdns)
    return address
  }

  /** Have the wallet speak to a chain; `ChainUnknown` when it does not know it. */
  async switchTo (chainId) {
    if (Number(await this.#ask('eth_chainId')) === chainId) return
    try {
      await this.#ask('wallet_switchEthereumChain', [{ chainId: `0x${chainId.toString(16)}` }])
    } catch (error) {
      throw error?.code === CHAIN_UNKNOWN ? new ChainUnknown(String(chainId)) : error
    }
  }

  sign (text, address) {
    const bytes = new TextEncoder().encode(text)
    const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
    return this.#ask('personal_sign', [`0x${hex}`, address])
  }

  /** Return whether an account can pay for an intent at its highest price. */
  async affords (intent, account) {
    const balance = BigInt(await this.#ask('eth_getBalance', [account, 'latest']))
    return balance >= BigInt(intent.value) + BigInt(intent.gas) * BigInt(intent.maxFeePerGas)
  }

  /** Send an intent of the platform; return the transaction's hash. */
  send (intent) {
    const quantity = amount => `0x${BigInt(amount).toString(16)}`
    return this.#ask('eth_sendTransaction', [{
      from: intent.from,
      to: intent.to,
      data: intent.data,
      value: quantity(intent.value),
      gas: quantity(intent.gas),
      maxFeePerGas: quantity(intent.maxFeePerGas),
      maxPriorityFeePerGas: quantity(intent.maxPriorityFeePerGas)
    }])
  }
}
