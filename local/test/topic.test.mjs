import assert from 'node:assert/strict'
import { test } from 'node:test'
import limits from '../dist/limits.js'
import tree from '../dist/broker/subscription-tree.js'
import topic from '../dist/broker/topic.js'

const { IOT_CORE_LIMITS } = limits
const topicProblem = (text) => topic.topicProblem(text, IOT_CORE_LIMITS)
const filterProblem = (text) => topic.filterProblem(text, IOT_CORE_LIMITS)

function matches(filter, name) {
  const subscriptions = new tree.SubscriptionTree()
  subscriptions.add({ filter })
  return subscriptions.match(name).entries.length === 1
}

test('a topic has at most 256 bytes and 7 slashes', () => {
  assert.equal(topicProblem('a'.repeat(256)), undefined)
  assert.match(topicProblem('a'.repeat(257)), /256 bytes/)
  assert.match(topicProblem('é'.repeat(129)), /256 bytes/)
  assert.equal(topicProblem('1/2/3/4/5/6/7/8'), undefined)
  assert.match(topicProblem('1/2/3/4/5/6/7/8/9'), /7 slashes/)
})

test('the basic ingest prefix does not count', () => {
  assert.equal(topicProblem(`$aws/rules/rule/${'a'.repeat(256)}`), undefined)
  assert.equal(topicProblem('$aws/rules/rule/1/2/3/4/5/6/7/8'), undefined)
  assert.match(topicProblem('$aws/rules/rule/'), /empty/)
})

test('empty topics, wildcards and reserved topics cannot be published to', () => {
  assert.match(topicProblem(''), /empty/)
  assert.match(topicProblem('a/+'), /"\+"/)
  assert.match(topicProblem('$SYS/x'), /reserved/)
  assert.match(topicProblem('a\0b'), /U\+0000/)
})

test('wildcards stand for whole levels, and # comes last', () => {
  for (const good of ['#', '+', 'a/#', '+/a/+', '/', '$aws/things/x/shadow/#']) {
    assert.equal(filterProblem(good), undefined, good)
  }
  for (const bad of ['', 'a#', 'a/#/b', 'a+', 'a/b+/c', '$SYS/#']) {
    assert.notEqual(filterProblem(bad), undefined, bad)
  }
})

test('a shared filter falls into its name and its filter', () => {
  assert.deepEqual(topic.parseSharedFilter('$share/g/a/#'), { shareName: 'g', filter: 'a/#' })
  assert.deepEqual(topic.parseSharedFilter('$share/g'), { shareName: 'g', filter: '' })
  assert.equal(topic.parseSharedFilter('a/#'), undefined)
  assert.equal(topic.shareNameProblem('g', IOT_CORE_LIMITS), undefined)
  assert.notEqual(topic.shareNameProblem('g+', IOT_CORE_LIMITS), undefined)
  assert.notEqual(topic.shareNameProblem('g'.repeat(129), IOT_CORE_LIMITS), undefined)
})

test('filters match level by level', () => {
  assert.equal(matches('a/b', 'a/b'), true)
  assert.equal(matches('a/+', 'a/b'), true)
  assert.equal(matches('a/+', 'a/b/c'), false)
  assert.equal(matches('+/+', '/b'), true)
  assert.equal(matches('a/#', 'a/b/c'), true)
  assert.equal(matches('#', 'a'), true)
})

test('a/# does not match a, other than in the MQTT standard', () => {
  assert.equal(matches('a/#', 'a'), false)
  assert.equal(matches('a/#', 'a/'), true)
})

test('wildcards on the first level do not match topics that start with $', () => {
  assert.equal(matches('#', '$aws/x'), false)
  assert.equal(matches('+/x', '$aws/x'), false)
  assert.equal(matches('$aws/+', '$aws/x'), true)
})

test('a removed subscription leaves nothing behind', () => {
  const subscriptions = new tree.SubscriptionTree()
  const plain = { filter: 'a/+/c' }
  const shared = { filter: 'a/+/c', shareName: 'g' }
  subscriptions.add(plain)
  subscriptions.add(shared)
  assert.equal(subscriptions.match('a/b/c').groups.length, 1)
  subscriptions.remove(shared)
  assert.equal(subscriptions.match('a/b/c').groups.length, 0)
  assert.equal(subscriptions.match('a/b/c').entries.length, 1)
  subscriptions.remove(plain)
  assert.equal(subscriptions.match('a/b/c').entries.length, 0)
})

test('of the topics that start with $ only those that AWS documents may be used', () => {
  for (const name of [
    '$aws/things/thing/shadow/update',
    '$aws/things/thing/jobs/get',
    '$aws/certificates/create/json',
    '$aws/provisioning-templates/fleet/provision/json',
    '$aws/rules/rule/a',
  ]) {
    assert.equal(topicProblem(name), undefined, name)
  }
  for (const name of [
    '$aws',
    '$aws/',
    '$aws/things',
    '$aws/things/',
    '$aws/nothing/x',
    '$AWS/things/x',
    '$share/g/a',
    '$',
  ]) {
    assert.match(topicProblem(name), /reserved/, name)
  }
})

test('lifecycle topics are subscribed to, and published by IoT Core alone', () => {
  assert.match(topicProblem('$aws/events/presence/connected/x'), /IoT Core alone/)
  assert.equal(filterProblem('$aws/events/presence/connected/+'), undefined)
  assert.equal(filterProblem('$aws/events/#'), undefined)
})

test('basic ingest is publish only', () => {
  assert.match(filterProblem('$aws/rules/rule/a'), /only be published/)
  assert.match(filterProblem('$aws/rules/#'), /only be published/)
})

test('filters with a wildcard in place of the reserved service are accepted, unknown services are not', () => {
  assert.equal(filterProblem('$aws/#'), undefined)
  assert.equal(filterProblem('$aws/+/x'), undefined)
  assert.match(filterProblem('$aws/nothing/#'), /reserved/)
  assert.match(filterProblem('$+/x'), /whole level/)
})

test('the $share prefix costs neither length nor slashes', () => {
  const shared = topic.parseSharedFilter(`$share/group/${'1/2/3/4/5/6/7/8'}`)
  assert.equal(filterProblem(shared.filter), undefined)
})
