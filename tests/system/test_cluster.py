"""Several servers on one PostgreSQL: what one of them leaves, another goes on with."""
import unittest

from rig import Case, edges, llm, wait_for


def chain(n):
    nodes = [llm('n%d' % i, 'step %d' % i) for i in range(n)]
    return {'sluice': 1, 'name': 'chain', 'nodes': nodes, 'edges': edges(*[('n%d' % i, 'n%d' % (i + 1)) for i in range(n - 1)]),
            'outputs': {'text': '{{ nodes.n%d.text }}' % (n - 1)}}


class Cluster(Case):
    def test_runs_of_a_killed_server_go_on_at_the_other(self):
        sim = self.sim({'sim': 1, 'defaults': {'tps': 2000, 'first_ms': 300, 'jitter': 0}, 'rules': [{'answer': 'well'}]})
        c = self.cluster(2, sim=sim)
        runs = [c[0].submit(chain(4)) for _ in range(5)]
        wait_for('a node to be done', lambda: c[0].run(runs[0])['nodes_done'] >= 1)
        c[0].kill()
        for run in runs:
            c[1].wait_status(run, 'succeeded')
        twice = c.pg.sql("SELECT run_id, once FROM run_events WHERE once IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1")
        self.assertEqual(twice, [])
        self.assertEqual(c.pg.value('SELECT count(*) FROM runs WHERE recoveries = 1'), '5')


if __name__ == '__main__':
    unittest.main()
